"""One cluster for all of its tests, and working folders whose runs go to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from slurm_bench import SlurmBench
from slurm_cluster import Cluster, missing
from workbench import write_picture


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes with two GPUs each."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        yield cluster.start()
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def make_slurm_bench(
    tmp_path_factory: pytest.TempPathFactory, cluster: Cluster
) -> Callable[..., SlurmBench]:
    """Makes a working folder with small pictures, one batch for each content."""

    def make(*contents: str, **changes: Any) -> SlurmBench:
        folder = tmp_path_factory.mktemp("bench")
        for index, name in enumerate(contents):
            write_picture(folder / "photos" / f"{name}.png", seed=index)
        write_picture(folder / "paintings" / "painting.png", seed=100)
        bench = SlurmBench(folder, Path())
        bench.cluster = cluster
        bench.write(
            run="small",
            contents="photos",
            styles="paintings",
            settings={"size": 32, "pyramid_start": 32, "iterations": 5, "tolerance": 0},
            sweep={"axes": {"style_weight": [1, 10]}},
            batch_by=["content"],
            evaluation={"size": 64},
            report={"thumbnail": 32},
            device="cpu",
        )
        bench.write(**changes)
        return bench

    return make
