from nstcore.run.batch import stylize_batch
from nstcore.run.heartbeat import under_way
from nstcore.run.job import job
from nstcore.run.promote import refined_cell

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    cells = [refined_cell(plan, **dict(snakemake.wildcards))]
    with under_way(plan, cells) as progress:
        stylize_batch(plan, cells, threads=snakemake.threads, progress=progress)
