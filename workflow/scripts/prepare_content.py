from nstcore.jobs.job import run_job
from nstcore.jobs.prepare import prepare_content

content, sizes = snakemake.wildcards.content, snakemake.params.sizes
run_job(snakemake, prepare_content, content=content, sizes=sizes)
