from nstcore.jobs.job import run_job
from nstcore.jobs.prepare import prepare_encoder

run_job(snakemake, prepare_encoder, encoder=snakemake.wildcards.encoder)
