from nstcore.jobs.job import job
from nstcore.results.select_refined import promote

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    promote(plan)
