from nstcore.jobs.job import run_job
from nstcore.report.outputs import bundle_report

run_job(snakemake, bundle_report, folder=snakemake.output[0])
