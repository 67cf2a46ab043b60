from nstcore.jobs.job import run_job
from nstcore.report.outputs import make_refined_sheet

run_job(snakemake, make_refined_sheet)
