"""Manifests of batches: they stay while their files do, and go with the first that is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from nstcore.config.loader import parse_config
from nstcore.jobs.manifests import drop_stale_manifests, manifest_path, write_manifest
from nstcore.plan.paths import record_path
from nstcore.plan.plan import Plan

BATCH = "night/cat"


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A run of two batches, whose files and manifests are there."""
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog", "night"):
        Image.new("RGB", (8, 8)).save(f"{name}.png")
    raw = {
        "run": "one",
        "contents": {"cat": "cat.png", "dog": "dog.png"},
        "styles": {"night": "night.png"},
        "sweep": {"axes": {"style_weight": [1, 10]}},
        "batch_by": ["style", "content"],
    }
    plan = Plan(parse_config(raw))
    for cells in plan.batches.values():
        for cell in cells:
            image = Path(plan.config.run_dir, cell.image)
            image.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes(b"image of " + cell.image.encode())
            record_path(image).write_text("{}")
        write_manifest(plan, cells)
    return plan


def image_of(plan: Plan) -> Path:
    return Path(plan.config.run_dir, plan.batches[BATCH][0].image)


def test_nothing_is_stale_at_first(plan: Plan) -> None:
    assert drop_stale_manifests(plan) == []


def remove(image: Path) -> None:
    image.unlink()


def remove_record(image: Path) -> None:
    record_path(image).unlink()


def change(image: Path) -> None:
    """Same size, other bytes."""
    image.write_bytes(b"x" * image.stat().st_size)


def truncate(image: Path) -> None:
    image.write_bytes(b"")


@pytest.mark.parametrize("harm", [remove, remove_record, change, truncate])
def test_a_harmed_file_makes_its_own_batch_stale(plan: Plan, harm: Callable[[Path], None]) -> None:
    harm(image_of(plan))
    assert drop_stale_manifests(plan) == [BATCH]
    assert not manifest_path(plan, BATCH).exists()
    assert manifest_path(plan, "night/dog").is_file()


def test_a_copied_run_stays_as_it_is(plan: Plan) -> None:
    """Other dates of the same files are no change; the manifest keeps its own date."""
    image, manifest = image_of(plan), manifest_path(plan, BATCH)
    shutil.copyfile(image, "copy")
    os.replace("copy", image)
    os.utime(manifest, (1e9, 1e9))
    before = manifest.read_text()
    assert drop_stale_manifests(plan) == []
    assert manifest.stat().st_mtime == 1e9
    assert manifest.read_text() != before, "its files are not read a second time"


@pytest.mark.parametrize("text", ["", "[]", '{"files": {"a": 1}}', '{"batch": "night/cat"}'])
def test_a_damaged_manifest_is_stale(plan: Plan, text: str) -> None:
    manifest_path(plan, BATCH).write_text(text)
    assert drop_stale_manifests(plan) == [BATCH]
