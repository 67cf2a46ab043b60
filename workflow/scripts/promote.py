from nstcore.jobs.job import run_job
from nstcore.results.select_refined import promote

run_job(snakemake, promote)
