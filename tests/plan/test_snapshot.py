"""A frozen configuration gives the same plan, whatever changes around it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nstcore.config.loader import parse_config
from nstcore.errors import ConfigError
from nstcore.plan.plan import Plan
from nstcore.plan.snapshot import (
    PLAN_FILE,
    open_plan,
    plan_of_batch,
    read_frozen_plan,
    read_plan,
    write_snapshot,
)
from nstcore.store import files

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A configuration whose ids, weights and values are hard to write down and read again."""
    monkeypatch.chdir(tmp_path)
    hard = [f"photos/{name}.png" for name in ("12e45", "on", "007", "é ü")]
    for shade, name in enumerate([*hard, "a.png", "b.png"]):
        path = Path(name)
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((40, 40, 3), shade, np.uint8)).save(path)
    return {
        "run": "1e3",
        "contents": "photos",
        "styles": {
            "1e5": {"a.png": 0.1, "b.png": 0.7},
            "null": "a.png",
            "two": ["b.png", "a.png"],
            "own": {"path": "a.png", "settings": {"style_scale": 1e-1, "pooling": "avg"}},
            "ours": {"paths": {"b.png": 1, "a.png": 2}, "settings": {"style_scale": 2}},
        },
        "settings": {"style_layers": ["relu3_1", "relu1_1"], "init": "noise"},
        "sweep": {
            "axes": {
                "style_weight": [1e-7, 1e30, 3],
                "iterations": [[2, 1], 5],
                "content_layers": [["relu4_2"], {"relu4_1": 0.5}],
            },
            "exclude": [{"content": "on", "style_weight": 3, "style": "null"}],
            "include": [{"iterations": [7, 3], "style": "two", "content": "007"}],
            "where": "style_weight >= 0 and content_layers == content_layers",
            "seeds": [3, 1],
        },
        "batch_by": ["style", "iterations"],
        "report": {"title": "yes"},
        "results": "out",
    }


def test_regions_come_back(raw: dict[str, Any]) -> None:
    guide = {"on": "a.png", "1e5": "b.png"}
    plan = Plan(
        parse_config(
            {
                **{name: value for name, value in raw.items() if name != "sweep"},
                "batch_by": [],
                "contents": {"cat": {"path": "a.png", "guide": guide}},
                "styles": {
                    "sky": {"path": "a.png", "guide": {**guide, "null": "b.png"}},
                    "each": {
                        "regions": {
                            "1e5": {"a.png": 0.1, "b.png": 0.7},
                            "on": {"path": "b.png", "guide": guide},
                        },
                        "settings": {"region_weights": {"1e5": 3, "on": 1e-7}},
                    },
                },
            }
        )
    )
    again = read_plan(write_snapshot(plan))
    assert again.contents == plan.contents
    assert again.styles == plan.styles


def test_the_plan_comes_back(raw: dict[str, Any]) -> None:
    plan = Plan(parse_config(raw))
    again = read_plan(write_snapshot(plan))
    assert again.contents == plan.contents
    assert again.styles == plan.styles
    assert list(again.cells()) == list(plan.cells())
    assert again.batches == plan.batches
    assert again.evaluation == plan.evaluation
    assert again.layout == plan.layout
    assert write_snapshot(again).read_text() == write_snapshot(plan).read_text()


@pytest.mark.parametrize("refine", [False, True])
def test_what_a_job_reads_is_the_plan(raw: dict[str, Any], refine: bool) -> None:
    weights = {"compact": "a.png", "vgg19": "b.png"}
    raw["sweep"]["axes"] |= {"weights": [weights, "b.png"], "kind": {"soft": {"tv_weight": 1e-7}}}
    if refine:
        raw["refine"] = {"choose": [{"seed": 3}], "settings": {"size": 1024}}
    plan = Plan(parse_config(raw))
    snapshot = write_snapshot(plan)
    job = read_frozen_plan(snapshot)
    assert job.config == read_plan(snapshot).config
    assert list(job.batches) == list(plan.batches)
    for name, cells in plan.batches.items():
        assert [cell.axes for cell in job.batches[name]] == [cell.axes for cell in cells]
        assert [cell.settings for cell in job.batches[name]] == [cell.settings for cell in cells]
        assert [cell.image for cell in job.batches[name]] == [cell.image for cell in cells]
        assert job.digest_of(job.batches[name]) == plan.digest_of(cells)
    for name in ("contents", "styles", "axis_values", "evaluation", "layout", "titles"):
        assert getattr(job, name) == getattr(plan, name)
    for prefix in ("", "refined_"):
        for name in ("sizes", "encoders", "targets"):
            found, expected = (getattr(one, prefix + name) for one in (job, plan))
            assert list(found.items()) == list(expected.items())
    assert list(job.cells()) == list(plan.cells())
    assert job.refine_rows == plan.refine_rows


@pytest.mark.parametrize("how", ["without", "other configuration", "other format"])
def test_a_snapshot_without_its_plan_is_read_too(raw: dict[str, Any], how: str) -> None:
    """As versions before have written it."""
    plan = Plan(parse_config(raw))
    path = write_snapshot(plan)
    written = path.with_name(PLAN_FILE)
    if how == "without":
        written.unlink()
    elif how == "other format":
        written.write_bytes(written.read_bytes().replace(b'"format":1', b'"format":0'))
    else:
        path.write_text(path.read_text().replace("- 1.0e+30", "- 1.0e+29"))
        plan = read_plan(path)
    assert dict(read_frozen_plan(path).batches) == dict(plan.batches)


def test_a_batch_alone_is_the_same_batch(raw: dict[str, Any], tmp_path: Path) -> None:
    plan = Plan(parse_config(raw))
    snapshot, alone = write_snapshot(plan), tmp_path / "node" / "config.yaml"
    for name, cells in plan.batches.items():
        files.write_bytes(alone, snapshot.read_bytes())
        files.write_bytes(alone.with_name(PLAN_FILE), plan_of_batch(snapshot, name))
        own = read_frozen_plan(alone)
        assert list(own.batches) == [name]
        assert own.digest_of(own.batches[name]) == plan.digest_of(cells)


def test_neither_a_new_picture_nor_an_edit_changes_it(raw: dict[str, Any]) -> None:
    plan = Plan(parse_config(raw))
    path = write_snapshot(plan)
    Image.new("RGB", (8, 8)).save("photos/aaa.png")
    assert list(Plan(parse_config(raw)).contents) != list(plan.contents)
    assert list(read_plan(path).cells()) == list(plan.cells())
    edited = {**raw, "sweep": {"axes": {"style_weight": [5]}}, "batch_by": []}
    assert list(open_plan(edited, starting=False).cells()) == list(plan.cells())
    assert len(list(open_plan(edited, starting=True).cells())) != plan.cell_count


def test_a_job_without_a_run_is_an_error(
    raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RETRY_DELAYS", (0.0,))
    with pytest.raises(ConfigError, match="start the run again"):
        open_plan(raw, starting=False)


def test_the_grid_is_the_same_in_every_process(raw: dict[str, Any]) -> None:
    """Python orders sets of text differently in every process; the grid knows no such order."""
    path = write_snapshot(Plan(parse_config(raw)))
    program = """if True:
        import sys
        from pathlib import Path
        from nstcore.plan import paths
        from nstcore.plan.snapshot import read_plan
        from nstcore.jobs import prepare
        from nstcore.store.files import write_json
        plan = read_plan(sys.argv[1])
        for name in plan.contents:
            prepare.prepare_content(plan, name)
        for name, source in plan.styles.items():
            for index in range(len(source.paths)):
                prepare.prepare_style(plan, name, index)
        for name in plan.encoders:
            facts = {"name": name, "source": "", "sha256": "0" * 64}
            write_json(Path(plan.config.run_dir) / paths.ENCODER_METADATA.format(encoder=name), facts)
        prepare.write_grid(plan, Path(sys.argv[2]))
        print(list(plan.targets), plan.sizes, plan.digest_of(plan.cells()))
        print([(name, [c.image for c in cells]) for name, cells in plan.batches.items()])
        assert "torch" not in sys.modules
    """
    said = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program, str(path), f"grid{seed}.tsv"],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0] == said[1]
    grid = Path("grid1.tsv").read_bytes()
    assert grid == Path("grid2.tsv").read_bytes()
    rows = grid.decode().splitlines()
    assert len(rows) == 1 + (4 * 5 * 3 * 2 * 2 - 2 * 2 + 3 * 2) * 2
    header = "style content setting seed style_weight iterations content_layers key batch image"
    assert rows[0].split("\t") == header.split()
    # All styles and contents with different pixels, and every point differs in what it computes.
    keys = [row.split("\t")[header.split().index("key")] for row in rows[1:]]
    assert len(set(keys)) == len(keys)
