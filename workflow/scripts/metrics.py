from nstcore.jobs.job import job
from nstcore.report.outputs import make_tables

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    make_tables(plan)
