from nstcore.jobs.job import run_job
from nstcore.jobs.prepare import prepare_style_guide

style, index = snakemake.wildcards.style, int(snakemake.wildcards.index)
run_job(snakemake, prepare_style_guide, style=style, index=index)
