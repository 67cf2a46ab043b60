from nstcore.jobs.job import run_job
from nstcore.report.outputs import make_tables

run_job(snakemake, make_tables)
