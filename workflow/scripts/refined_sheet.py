from nstcore.jobs.job import job
from nstcore.report.outputs import make_refined_sheet

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    make_refined_sheet(plan)
