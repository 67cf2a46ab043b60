from nstcore.jobs.job import run_job
from nstcore.jobs.workflow_files import refined_cell, stylize_cells


def cell(plan):
    return [refined_cell(plan, **snakemake.wildcards)]


run_job(snakemake, stylize_cells, choose=cell, threads=snakemake.threads)
