from nstcore.jobs.job import run_job
from nstcore.results.select_refined import write_selection

run_job(snakemake, write_selection)
