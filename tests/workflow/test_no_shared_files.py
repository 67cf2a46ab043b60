"""A grid whose jobs see none of the run's files: each in a folder of its own, with a storage between.

The tests stand in the order in which they have to run: each starts from what the one before left.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from workbench import ROOT, Bench

from nstcore.store.files import file_sha256

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("rsync") is None, reason="Snakemake's storage needs rsync"),
]

SUBMIT = """
import subprocess, sys, tempfile
node = tempfile.mkdtemp(dir=sys.argv[1])
script = open(sys.argv[2]).read()
with open(f"{node}/script", "w") as copy:
    copy.write(script)
command = f"sh ../{node.split('/')[-1]}/script > ../{node.split('/')[-1]}.log 2>&1; echo $? > rc"
subprocess.Popen(["sh", "-c", command], cwd=node, start_new_session=True)
print(node)
"""

STATUS = """
import pathlib, sys
ended = pathlib.Path(sys.argv[1], "rc")
code = ended.read_text().strip() if ended.is_file() else ""
print({"": "running", "0": "success"}.get(code, "failed"))
"""


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Bench]) -> Bench:
    refine = {"count": 1, "settings": {"size": 96, "iterations": [2]}}
    bench = make_bench(refine=refine, snapshots={"every": 2})
    shutil.copyfile(ROOT / "Snakefile", bench.folder / "Snakefile")
    shutil.copytree(ROOT / "workflow", bench.folder / "workflow")
    shutil.copyfile(ROOT / "environment.yml", bench.folder / "environment.yml")
    (bench.folder / "profiles" / "default").mkdir(parents=True)
    (bench.folder / "profiles" / "default" / "config.yaml").write_text("printshellcmds: false\n")
    (bench.folder / "submit.py").write_text(SUBMIT)
    (bench.folder / "status.py").write_text(STATUS)
    return bench


def nodes(bench: Bench) -> dict[str, Path]:
    """What the last run sent away, such as ``batches/painting1`` -> the folder of its job."""
    found = {}
    for script in (bench.folder.parent / "nodes").glob("*/script"):
        job = re.search(r"stage=(\w+),part=(\w+)", script.read_text())
        assert job, script
        found["/".join(job.groups())] = script.parent
    return found


def run(bench: Bench, status: int = 0) -> str:
    nodes_folder = bench.folder.parent / "nodes"
    shutil.rmtree(nodes_folder, ignore_errors=True)
    nodes_folder.mkdir()
    python = sys.executable
    words = [python, "-m", "snakemake", "--configfile", "config.yaml", "--verbose"]
    words += ["--executor", "cluster-generic", "--jobs", "2", "--local-cores", "2"]
    words += ["--cluster-generic-submit-cmd", f"{python} submit.py {nodes_folder}"]
    words += ["--cluster-generic-status-cmd", f"{python} status.py"]
    words += ["--shared-fs-usage", "none", "--job-deploy-sources", "--default-storage-provider"]
    words += ["fs", "--default-storage-prefix", str(bench.folder.parent / "storage")]
    words += ["--seconds-between-status-checks", "1", "--latency-wait", "1"]
    ended, said = bench.call(*words)
    logs = "".join(log.read_text() for log in nodes_folder.glob("*.log"))
    assert ended == status, said + logs + bench.logs()
    return said


def test_everything_arrives(bench: Bench) -> None:
    run(bench)
    records = bench.records()
    assert len(records) == 8
    for name, record in records.items():
        assert record["status"] == "ok"
        image = bench.run_dir / "cells" / f"{name}.png"
        assert record["image"]["sha256"] == file_sha256(image)
    for name in ("metrics.csv", "report/index.html", "refined.csv", "sheets/refined.png"):
        assert (bench.run_dir / name).stat().st_size > 0
    summary = json.loads((bench.run_dir / "summary.json").read_text())
    assert summary == {"cells": 8, "refined": 4, "failed": []}
    assert len(bench.stored()) == 12
    assert len(list((bench.run_dir / "snapshots").rglob("*.webp"))) == 2 * 12, "0 and 2"
    assert sorted(nodes(bench)) == [
        f"{stage}/painting{number}" for stage in ("batches", "refined") for number in (1, 2)
    ]
    for node in nodes(bench).values():
        assert not (node / "photos").exists(), "what they saw came with them"


def test_a_deleted_picture_comes_back_from_the_storage(bench: Bench) -> None:
    image = bench.run_dir / "cells/painting1/photo2/style_weight=10.png"
    checksum = file_sha256(image)
    image.unlink()
    run(bench)
    assert file_sha256(image) == checksum
    assert list(nodes(bench)) == ["refined/painting1"], "only what is made from the batch"


def test_what_has_arrived_is_needed_in_the_storage_no_more(bench: Bench) -> None:
    shutil.rmtree(bench.folder.parent / "storage")
    assert "Nothing to be done" in run(bench)


def test_another_value_computes_its_cells_only(bench: Bench) -> None:
    """What is finished goes to the node with the batch, whose store is empty."""
    before = bench.stored()
    del bench.config["refine"]
    bench.write(sweep={"axes": {"style_weight": [1, 10, 30]}})
    run(bench)
    after = bench.stored()
    assert {key: after[key] for key in before} == before
    assert len(after) == len(before) + 4
    assert len(bench.records()) == 12
    for log in (bench.folder.parent / "storage").rglob("batches/*.log"):
        assert "6 cells: 4 in the store, 2 to compute" in log.read_text()


def test_a_deleted_picture_comes_back_without_the_storage(bench: Bench) -> None:
    shutil.rmtree(bench.folder.parent / "storage")
    before = bench.stored()
    image = bench.run_dir / "cells/painting1/photo2/style_weight=10.png"
    checksum = file_sha256(image)
    image.unlink()
    run(bench)
    assert file_sha256(image) == checksum
    assert bench.stored() == before
    assert list(nodes(bench)) == ["batches/painting1"]


def test_cells_that_failed_are_sent_again(bench: Bench) -> None:
    (bench.folder / "photos" / "photo3.png").write_bytes(b"no picture")
    for _ in range(2):
        said = run(bench, status=1)
        assert "6 of 18 cells failed" in bench.logs() + said
        assert sorted(nodes(bench)) == ["batches/painting1", "batches/painting2"]
        failed = [name for name, r in bench.records().items() if r["status"] != "ok"]
        assert {name.split("/")[1] for name in failed} == {"photo3"}
        assert len(failed) == 6
