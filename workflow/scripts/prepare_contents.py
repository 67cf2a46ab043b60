from nstcore.jobs.job import run_job
from nstcore.jobs.workflow_jobs import make_contents

run_job(
    snakemake,
    make_contents,
    part=snakemake.wildcards.part,
    manifest=snakemake.output[0],
    refined=snakemake.params.refined,
)
