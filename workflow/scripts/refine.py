from nstcore.jobs.job import run_job
from nstcore.jobs.workflow_jobs import make_refined

run_job(snakemake, make_refined, **snakemake.wildcards, threads=snakemake.threads)
