from pathlib import Path

from nstcore.run.check import check
from nstcore.run.job import job

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    check(plan, Path(snakemake.output[0]))
