from nstcore.run.batch import stylize_batch
from nstcore.run.job import job, progress_log

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    stylize_batch(
        plan,
        plan.batch(snakemake.params.group, *snakemake.params.batch),
        threads=snakemake.threads,
        progress=progress_log(),
    )
