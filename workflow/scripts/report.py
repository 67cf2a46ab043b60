from nstcore.jobs.job import run_job
from nstcore.report.outputs import make_report

run_job(snakemake, make_report, threads=snakemake.threads, bundle=snakemake.output.bundle)
