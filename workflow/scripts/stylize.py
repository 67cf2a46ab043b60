from nstcore.run.batch import stylize_batch
from nstcore.run.heartbeat import under_way
from nstcore.run.job import job

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    cells = plan.batch(snakemake.params.group, *snakemake.params.batch)
    with under_way(plan, cells) as watch:
        stylize_batch(plan, cells, threads=snakemake.threads, progress=watch, waits=watch.waits)
