from nstcore.jobs.job import job
from nstcore.jobs.prepare import make_targets

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    make_targets(plan, snakemake.wildcards.style, threads=snakemake.threads)
