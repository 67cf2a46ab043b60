from pathlib import Path

from nstcore.jobs.job import run_job
from nstcore.jobs.targets import make_targets

targets = [Path(file).stem for file in snakemake.output]
style, threads = snakemake.wildcards.style, snakemake.threads
run_job(snakemake, make_targets, style=style, targets=targets, threads=threads)
