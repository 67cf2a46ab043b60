from nstcore.jobs.job import job
from nstcore.jobs.prepare import prepare_style_guide

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    prepare_style_guide(plan, snakemake.wildcards.style, int(snakemake.wildcards.index))
