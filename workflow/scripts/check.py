from nstcore.jobs.job import run_job
from nstcore.results.finalize import finalize

run_job(snakemake, finalize, summary=snakemake.output[0])
