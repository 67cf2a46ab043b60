from nstcore.jobs.job import run_job
from nstcore.jobs.prepare import write_grid

run_job(snakemake, write_grid, path=snakemake.output[0])
