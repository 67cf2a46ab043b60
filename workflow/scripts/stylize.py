from nstcore.jobs.heartbeat import under_way
from nstcore.jobs.job import job
from nstcore.jobs.stylize import stylize_batch

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    cells = plan.batch(snakemake.params.group, *snakemake.params.batch)
    with under_way(plan, cells) as watch:
        stylize_batch(plan, cells, threads=snakemake.threads, progress=watch, waits=watch.waits)
