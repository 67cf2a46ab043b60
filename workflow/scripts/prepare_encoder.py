from nstcore.run.job import job
from nstcore.run.prepare import prepare_encoder

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    prepare_encoder(plan, snakemake.wildcards.encoder)
