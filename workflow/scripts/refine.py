from nstcore.jobs.heartbeat import under_way
from nstcore.jobs.job import job
from nstcore.jobs.stylize import stylize_batch
from nstcore.results.select_refined import refined_cell

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    cells = [refined_cell(plan, **dict(snakemake.wildcards))]
    with under_way(plan, cells) as progress:
        stylize_batch(plan, cells, threads=snakemake.threads, progress=progress)
