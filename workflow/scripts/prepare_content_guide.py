from nstcore.jobs.job import run_job
from nstcore.jobs.prepare import prepare_content_guide

content, sizes = snakemake.wildcards.content, snakemake.params.sizes
run_job(snakemake, prepare_content_guide, content=content, sizes=sizes)
