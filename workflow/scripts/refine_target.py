from nstcore.jobs.job import job
from nstcore.jobs.prepare import make_targets
from nstcore.plan.preparation import refined_requests

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    make_targets(
        plan,
        snakemake.wildcards.style,
        targets=list(refined_requests(plan)),
        threads=snakemake.threads,
    )
