"""Snapshots: what is kept of images while they are made, and that it changes nothing."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from plans import make_plan
from workbench import write_picture

from nstcore.config.loader import parse_config
from nstcore.errors import ConfigError
from nstcore.jobs.prepare import prepare_inputs
from nstcore.jobs.snapshots import snapshots_of
from nstcore.jobs.stylize import stylize_batch
from nstcore.jobs.targets import make_targets
from nstcore.plan import paths
from nstcore.plan.plan import Plan
from nstcore.plan.record import CellRecord

SETTINGS = {"size": 64, "pyramid_start": 32, "iterations": [12, 9], "tolerance": 0}


def plan_of(folder: Path, **values: Any) -> Plan:
    """Two cells of 64 x 48 px, with two levels, whose inputs are prepared."""
    folder.mkdir(exist_ok=True)
    given = {"settings": SETTINGS, "sweep": {"axes": {"style_weight": [1, 30]}}, **values}
    plan = make_plan(folder, **given)
    write_picture(folder / "photo.png", seed=1, size=(80, 60))
    prepare_inputs(plan)
    for style in plan.styles:
        make_targets(plan, style)
    return plan


def made(plan: Plan, progress: Any = None) -> dict[str, tuple[str, str, list[int]]]:
    """Make all cells; the digest of each image's pixels, its key, and the iterations of its snapshots."""
    cells, run = list(plan.cells()), Path(plan.config.run_dir)
    stylize_batch(plan, cells, threads=1, progress=progress)
    found = {}
    for cell in cells:
        record = CellRecord.read(paths.record_path(run / cell.image))
        assert record.status == "ok", record.reason
        digest = hashlib.sha256(pixels(run / cell.image).tobytes()).hexdigest()
        iterations = list(snapshots_of(run, cell.image, record.key))
        found[cell.point.stem] = (digest, record.key, iterations)
    return found


def files(plan: Plan) -> dict[str, bytes]:
    folder = Path(plan.config.run_dir, "snapshots")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(float)


def test_chosen_cells_have_them_and_no_picture_changes(tmp_path: Path) -> None:
    plain = made(plan_of(tmp_path / "plain"))
    snapshots = {"every": 5, "size": 48, "where": "style_weight > 1 and seed == 0"}
    plan = plan_of(tmp_path / "filmed", snapshots=snapshots)
    filmed = made(plan)
    assert {stem: one[:2] for stem, one in filmed.items()} == {s: o[:2] for s, o in plain.items()}
    assert [one[2] for one in plain.values()] == [[], []]
    assert [one[2] for one in filmed.values()] == [[], [0, 5, 10, 15, 20]]
    run, cell = Path(plan.config.run_dir), list(plan.cells())[1]
    shown = snapshots_of(run, cell.image, filmed[cell.point.stem][1])
    assert len(files(plan)) == len(shown), "nothing else is in the folder"
    sizes = [Image.open(run / file).size for file in shown.values()]
    assert sizes == [(32, 24)] * 3 + [(48, 36)] * 2, "of the level, and at most as large as asked"
    last = pixels(run / shown[20])
    final = np.asarray(Image.open(run / cell.image).resize((48, 36), Image.Resampling.BOX))
    start = np.asarray(Image.open(run / shown[0]).convert("RGB").resize((48, 36)))
    assert np.abs(last - final).mean() < 0.5 * np.abs(start - final).mean()


def test_a_job_that_goes_on_ends_with_the_same_ones(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"snapshots": {"every": 4, "size": 32}, "checkpoint_seconds": 1e-6}
    whole = plan_of(tmp_path / "whole", **asked)
    expected = made(whole)

    plan = plan_of(tmp_path / "broken", **asked)
    for number, (_, key, _) in enumerate(expected.values()):
        cell = list(plan.cells())[number]
        for stale in (f"000004-{'0' * 8}", f"000800-{key[:8]}"):
            path = Path(plan.config.run_dir, paths.snapshot_file(cell.image, key, 0))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(f"{stale}.webp").write_bytes(b"of an earlier image")

    def stop(_label: str, iteration: int, *_: Any) -> None:
        if iteration == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(plan, stop)
    before = files(plan)
    assert before
    assert max(before) < max(files(whole))
    assert made(plan) == expected
    assert files(plan) == files(whole)


def test_cells_of_one_picture_all_have_them(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    raw = plan.config.model_dump(exclude_unset=True)
    twins = {"one": str(tmp_path / "photo.png"), "two": str(tmp_path / "photo.png")}
    plan = Plan(parse_config({**raw, "contents": twins, "snapshots": {"every": 7}}))
    prepare_inputs(plan)
    made(plan)
    names = [name.split("/", 1)[1] for name in files(plan) if "/one/" in name]
    assert len(names) == 8
    own = {name: content for name, content in files(plan).items() if "/one/" in name}
    assert {name.replace("/one/", "/two/"): content for name, content in own.items()} == {
        name: content for name, content in files(plan).items() if "/two/" in name
    }


def test_luminance_gets_its_colors_back(tmp_path: Path) -> None:
    settings = {**SETTINGS, "color": "luminance"}
    plan = plan_of(tmp_path, settings=settings, snapshots={"every": 100}, sweep={})
    [(_, key, iterations)] = made(plan).values()
    assert iterations == [0]
    [cell], run = list(plan.cells()), Path(plan.config.run_dir)
    start = pixels(run / snapshots_of(run, cell.image, key)[0])
    content = Image.open(run / paths.CONTENT.format(content="photo", size=64))
    expected = np.asarray(content.resize((32, 24), Image.Resampling.LANCZOS)).astype(float)
    chroma = [(image[..., 0] - image[..., 1]).ravel() for image in (start, expected)]
    assert np.corrcoef(*chroma)[0, 1] > 0.7


def test_what_cannot_be_written_or_chosen_costs_no_cell(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = plan_of(tmp_path / "full", snapshots={"every": 5})
    Path(plan.config.run_dir, "snapshots").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        assert all(one[2] == [] for one in made(plan).values())
    assert "a snapshot is left out" in caplog.text
    plan = plan_of(tmp_path / "wrong", snapshots={"every": 5, "where": "style > 3"})
    with caplog.at_level(logging.WARNING):
        assert all(one[2] == [] for one in made(plan).values())
    assert "snapshots.where: `style > 3` cannot compare" in caplog.text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"every": 5, "where": "syle == 'x'"}, "snapshots.where: unknown axis or setting `syle`"),
        ({"every": 0}, "snapshots.every"),
        ({"size": 256}, "snapshots.every"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan(tmp_path, snapshots=values)
