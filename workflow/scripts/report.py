from nstcore.report.stages import make_report
from nstcore.run.job import job

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    make_report(plan, threads=snakemake.threads)
