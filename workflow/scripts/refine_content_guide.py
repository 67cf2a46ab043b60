from nstcore.jobs.job import job
from nstcore.jobs.prepare import prepare_content_guide
from nstcore.plan.refine import refined_sizes

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    prepare_content_guide(plan, snakemake.wildcards.content, refined_sizes(plan))
