from nstcore.jobs.job import job
from nstcore.jobs.prepare import prepare_encoder

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    prepare_encoder(plan, snakemake.wildcards.encoder)
