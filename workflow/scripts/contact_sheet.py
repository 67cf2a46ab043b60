from nstcore.report.stages import make_sheet
from nstcore.run.job import job

with job(snakemake.params.frozen, snakemake.log[0]) as plan:
    make_sheet(plan, snakemake.wildcards.page, threads=snakemake.threads)
