from nstcore.jobs.job import run_job
from nstcore.jobs.workflow_jobs import make_styles

part, manifest = snakemake.wildcards.part, snakemake.output[0]
run_job(snakemake, make_styles, part=part, manifest=manifest)
