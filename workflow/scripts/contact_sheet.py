from nstcore.jobs.job import run_job
from nstcore.report.outputs import make_sheet

run_job(snakemake, make_sheet, page=snakemake.wildcards.page, threads=snakemake.threads)
