from nstcore.jobs.job import run_job
from nstcore.jobs.workflow_files import make_batch

run_job(snakemake, make_batch, batch=snakemake.wildcards.batch, threads=snakemake.threads)
