from nstcore.compare.comparison_files import make_comparison
from nstcore.jobs.job import run_job

run_job(snakemake, make_comparison)
