from nstcore.report.refined import make_refined_sheet
from nstcore.run.job import job

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    make_refined_sheet(plan)
