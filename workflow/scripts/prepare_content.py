from nstcore.jobs.job import job
from nstcore.jobs.prepare import prepare_content

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    prepare_content(plan, snakemake.wildcards.content)
