from nstcore.jobs.job import job
from nstcore.jobs.prepare import prepare_content_guide

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    prepare_content_guide(plan, snakemake.wildcards.content)
