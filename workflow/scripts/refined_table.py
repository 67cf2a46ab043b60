from nstcore.jobs.job import run_job
from nstcore.report.outputs import make_refined_table

run_job(snakemake, make_refined_table)
