"""Planning takes work in proportion to the cells, and a job reads only its own part of a plan."""

from __future__ import annotations

import cProfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nstcore.config.loader import parse_config
from nstcore.jobs.workflow_files import SELECTION, RefineRule, RunFiles, StylizeRule
from nstcore.plan.plan import Plan
from nstcore.plan.snapshot import read_frozen_plan, read_plan, write_snapshot
from nstcore.resources.estimate import InputSizes
from nstcore.resources.preflight import long_names, too_many_pixels, too_narrow
from nstcore.store.files import write_text


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, those that are not Python's too."""
    profile = cProfile.Profile()
    profile.runcall(work)
    return sum(entry.callcount for entry in profile.getstats())


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 48)).save("a.png")


def grid(styles: int, contents: int, points: int, **more: Any) -> dict[str, Any]:
    axes = {"style_weight": [1 + number / 1000 for number in range(points)]}
    return {
        "contents": {f"c{number}": "a.png" for number in range(contents)},
        "styles": {f"s{number}": "a.png" for number in range(styles)},
        "sweep": {"axes": axes, **more.pop("sweep", {})},
        "device": "cpu",
        **more,
    }


def plan_everything(raw: dict[str, Any]) -> None:
    """What a run does before its first job, and the warnings before it starts."""
    plan = Plan(parse_config(raw))
    read_plan(write_snapshot(plan))
    files = RunFiles(plan)
    files.grid_inputs()
    files.batch_digest()
    plan.digest_of(plan.cells())
    rule = StylizeRule(files)
    for part in plan.batches:
        job = {"part": part}
        rule.inputs(job)
        rule.digest(job)
        rule.shares(job)
    for stage, sources in (("contents", files.content_sources), ("styles", files.style_sources)):
        for manifest in files.manifests(stage, getattr(plan, stage)):
            sources({"part": Path(manifest).stem})
    sizes = InputSizes(dict.fromkeys(plan.contents, (64, 48)), {}, ())
    for check in (too_many_pixels, too_narrow):
        list(check(plan, sizes))
    long_names(plan)
    _ = plan.axis_values, plan.layout, plan.targets, plan.refined_targets
    if plan.config.refine is not None:
        write_text(
            Path(plan.config.run_dir) / SELECTION,
            "image\n" + "\n".join(cell.image for cell in plan.most_refined),
        )
        refine = RefineRule(files)
        for part in refine.parts:
            refine.inputs({"part": part})


def listed(count: int, **values: Any) -> list[dict[str, Any]]:
    """A partial cell for each value of the axis but for the first."""
    return [{"style_weight": 1 + number / 1000, **values} for number in range(1, count)]


SHAPES: dict[str, Callable[[int], dict[str, Any]]] = {
    "styles": lambda n: grid(n, 1, 1),
    "contents": lambda n: grid(1, n, 1),
    "settings": lambda n: grid(1, 1, n),
    "seeds": lambda n: grid(1, 1, 2, settings={"init": "noise"}, sweep={"seeds": n}),
    "pairs": lambda n: grid(n // 4, 4, 3),
    "a job for each": lambda n: grid(2, n, 2, batch_by=["style", "content"]),
    "jobs by axis": lambda n: grid(2, 2, n, batch_by=["style_weight"]),
    "minutes": lambda n: grid(2, n, 2, cluster={"target_minutes": 1}),
    "own settings": lambda n: (
        grid(2, n, 2)
        | {
            "contents": {
                f"c{i}": {"path": "a.png", "settings": {"iterations": [1 + i]}} for i in range(n)
            }
        }
    ),
    "exclude": lambda n: grid(1, 2, n, sweep={"exclude": listed(n, content="c0")}),
    "include": lambda n: grid(
        1, 2, 2, sweep={"include": [{"content": "c0", "style_weight": 2 + i} for i in range(n)]}
    ),
    "where": lambda n: grid(2, n, 2, sweep={"where": "style_weight > 0 and size > 5"}),
    "sample": lambda n: grid(
        2, n, n, sweep={"sample": {"method": "lhs", "n": n, "axes": ["style_weight", "content"]}}
    ),
    "chosen": lambda n: grid(
        1,
        n,
        1,
        refine={
            "choose": [{"content": f"c{i}"} for i in range(n)],
            "settings": {"size": 1024},
        },
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_planning_is_linear_in_cells(shape: str) -> None:
    make = SHAPES[shape]
    plan_everything(make(64))  # fills caches
    few, more, most = (calls(lambda n=n: plan_everything(make(n))) for n in (64, 128, 256))
    # A share that grows with the square adds to it: with the pairs of 64 values alone it is 2.1.
    assert (most - more) / (more - few) < 2.03


def test_a_job_reads_only_its_own_batch() -> None:
    def job_of(size: int) -> tuple[Plan, Callable[[], Plan]]:
        raw = grid(size, size, 16, batch_by=["style", "content"], run=f"run{size}")
        plan = Plan(parse_config(raw))
        snapshot = write_snapshot(plan)

        def as_a_job() -> Plan:
            job = read_frozen_plan(snapshot)
            rule = StylizeRule(RunFiles(job))
            for function in (rule.cells, rule.inputs, rule.digest, rule.shares):
                function({"part": "s3/c2"})
            assert all((job.targets, job.encoders, job.sizes))
            return job

        return plan, as_a_job

    (few, small), (many, large) = job_of(4), job_of(32)
    job = large()
    assert job.batches["s3/c2"] == many.batches["s3/c2"]
    assert not {"selection", "settings", "batching"} & vars(job).keys()
    assert many.cell_count == 64 * few.cell_count
    assert calls(large) < 2 * calls(small)
