from nstcore.jobs.job import run_job
from nstcore.jobs.packed import unpack_batch

made, manifest = snakemake.input[0], snakemake.output[0]
run_job(snakemake, unpack_batch, **snakemake.wildcards, made=made, manifest=manifest)
