from nstcore.jobs.job import run_job
from nstcore.results.tables import make_tables

run_job(snakemake, make_tables)
