from nstcore.jobs.job import run_job
from nstcore.jobs.workflow_jobs import make_style_targets

run_job(
    snakemake,
    make_style_targets,
    part=snakemake.wildcards.part,
    manifest=snakemake.output[0],
    threads=snakemake.threads,
    refined=snakemake.params.refined,
)
