from pathlib import Path

from nstcore.jobs.job import job
from nstcore.results.finalize import finalize

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    finalize(plan, Path(snakemake.output[0]))
