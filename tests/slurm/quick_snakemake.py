"""Snakemake that looks after its jobs twice a second.

Its executor for Slurm begins with every 40 s and slows down to every 180 s, whatever is asked of it;
tests of small jobs would do little but wait.  Nothing else is changed.
"""

import asyncio
import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


async def _briefly(_executor: RemoteExecutor) -> None:
    await asyncio.sleep(0.5)


RemoteExecutor.sleep = _briefly

if __name__ == "__main__":
    sys.argv[0] = "snakemake"
    main(sys.argv[1:])
