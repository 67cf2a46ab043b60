from nstcore.jobs.job import run_job
from nstcore.jobs.workflow_jobs import make_batch

run_job(
    snakemake,
    make_batch,
    stage=snakemake.params.stage,
    part=snakemake.wildcards.part,
    manifest=snakemake.output[0],
    threads=snakemake.threads,
)
