from pathlib import Path

from nstcore.jobs.job import job
from nstcore.report.outputs import bundle_report

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    bundle_report(plan, Path(snakemake.output[0]))
