from nstcore.run.batch import stylize_batch
from nstcore.run.job import job, progress_log
from nstcore.run.promote import refined_cell

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    stylize_batch(
        plan,
        [refined_cell(plan, **dict(snakemake.wildcards))],
        threads=snakemake.threads,
        progress=progress_log(),
    )
