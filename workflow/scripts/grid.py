from pathlib import Path

from nstcore.jobs.job import job
from nstcore.jobs.prepare import write_grid

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    write_grid(plan, Path(snakemake.output[0]))
