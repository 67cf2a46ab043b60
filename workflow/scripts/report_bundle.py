from pathlib import Path

from nstcore.report.stages import bundle_report
from nstcore.run.job import job

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    bundle_report(plan, Path(snakemake.output[0]))
