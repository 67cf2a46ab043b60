from nstcore.run.job import job
from nstcore.run.promote import promote

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    promote(plan)
