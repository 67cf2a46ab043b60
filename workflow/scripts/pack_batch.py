from nstcore.jobs.job import run_job
from nstcore.jobs.packed import pack_batch

run_job(snakemake, pack_batch, **snakemake.wildcards, archive=snakemake.output[0])
