from nstcore.jobs.job import run_job
from nstcore.jobs.workflow_files import stylize_cells


def cells_of_batch(plan):
    return plan.batch(snakemake.params.group, *snakemake.params.batch)


run_job(snakemake, stylize_cells, choose=cells_of_batch, threads=snakemake.threads)
