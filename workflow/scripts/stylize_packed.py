from pathlib import Path

from nstcore.jobs.job import run_job
from nstcore.jobs.packed import make_packed_batch, unpack
from nstcore.plan.snapshot import snapshot_of

archive = snakemake.input[0]
# The plan itself comes with it.
unpack(archive, {"run": snapshot_of(snakemake.config).parent, "work": Path()})
run_job(
    snakemake,
    make_packed_batch,
    **snakemake.wildcards,
    archive=archive,
    made=snakemake.output[0],
    threads=snakemake.threads,
)
