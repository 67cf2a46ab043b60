from nstcore.jobs.job import job
from nstcore.report.outputs import make_report

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    make_report(plan, threads=snakemake.threads)
