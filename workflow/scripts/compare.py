from nstcore.compare.stages import make_comparison
from nstcore.jobs.job import job

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    make_comparison(plan)
