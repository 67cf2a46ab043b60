"""Every example in config/examples runs to its end, small and with few iterations.

They are found where they lie: a new one is tested as soon as it is there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from workbench import NST, ROOT, Bench

from nstcore.config.loader import parse_config
from nstcore.config.yaml_files import read_yaml
from nstcore.demo import write_demo
from nstcore.plan.plan import Plan

EXAMPLES = sorted((ROOT / "config" / "examples").glob("*.yaml"))
SMALLEST = 32

each_example = pytest.mark.parametrize("example", EXAMPLES, ids=[path.stem for path in EXAMPLES])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with all that ``config`` holds, and the demo's photographs."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(ROOT / "config", folder / "config")
    write_demo(folder / "config" / "demo")
    return folder


def shrunk(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The same configuration with an eighth of the size and a fiftieth of the iterations."""
    small: dict[str, Any] = _shrink(raw)
    axes = (small.get("sweep") or {}).get("axes") or {}
    few = {"size": 48, "pyramid_start": SMALLEST, "iterations": 2}
    settings = small.get("settings") or {}
    small["settings"] = {
        **{name: value for name, value in few.items() if name not in axes},
        **settings,
    }
    small["evaluation"] = {**(small.get("evaluation") or {}), "size": 64}
    small["device"] = "cpu"
    return small


def _shrink(value: Any, key: str = "") -> Any:
    """What stands under ``size`` and ``iterations``, wherever that is, as numbers, lists or ranges."""
    if isinstance(value, Mapping):
        inside = key if key in ("size", "iterations") else ""
        return {
            name: part if name == "num" else _shrink(part, inside or name)
            for name, part in value.items()
        }
    if isinstance(value, list):
        return [_shrink(part, key) for part in value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    if key == "size":
        return max(SMALLEST, value // 8)
    if key == "iterations":
        return max(1, value // 50)
    return value


def test_there_are_examples() -> None:
    assert EXAMPLES
    names = [read_yaml(path)["run"] for path in EXAMPLES]
    assert len(set(names)) == len(names), "each has its own folder of results"


@each_example
def test_it_is_a_configuration_that_says_what_to_look_at(
    example: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures)
    plan = Plan(parse_config(read_yaml(example)))
    assert plan.cell_count
    head = example.read_text().split("\nrun:")[0].splitlines()
    comments = [line for line in head if line.startswith("#")]
    assert len(comments) >= 2
    assert f"nst run config/examples/{example.name}" in "\n".join(comments)


@pytest.mark.slow
@pytest.mark.timeout(2000)
@each_example
def test_it_runs(example: Path, pictures: Path) -> None:
    raw = shrunk(read_yaml(example))
    file = pictures / "config" / "examples" / example.name
    file.write_text(yaml.safe_dump(raw, sort_keys=False))
    bench = Bench(pictures, Path("no weights"), raw)
    words = ["run", str(file.relative_to(pictures)), "--cores", "1"]
    status, said = bench.call(*NST, *words, timeout=1800)
    assert status == 0, said + bench.logs()
    run = bench.run_dir
    summary = json.loads((run / "summary.json").read_text())
    assert summary["failed"] == []
    records = bench.records()
    assert summary["cells"] == len(records)
    for name, record in records.items():
        assert record["status"] == "ok"
        assert (run / "cells" / name).with_name(record["image"]["file"]).stat().st_size > 0
        assert max(record["image"]["width"], record["image"]["height"]) <= 256
    assert list((run / "sheets").glob("*.png"))
    assert (run / "report" / "index.html").stat().st_size > 0
    if "refine" in raw:
        assert summary["refined"] > 0
