from nstcore.jobs.job import run_job
from nstcore.jobs.prepare import prepare_style

style, index = snakemake.wildcards.style, int(snakemake.wildcards.index)
run_job(snakemake, prepare_style, style=style, index=index)
