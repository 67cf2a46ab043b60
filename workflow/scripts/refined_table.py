from nstcore.report.refined import make_refined_table
from nstcore.run.job import job

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    make_refined_table(plan)
