"""Manifests: they stay while their files do, and go with the first that is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nstcore.jobs.manifests import drop_stale_manifests, write_manifest
from nstcore.plan.paths import MANIFEST, record_path

FILES = {"night/cat": "cells/night/cat/one.png", "night/dog": "cells/night/dog/one.png"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two manifests, of two files each."""
    for part, image in FILES.items():
        files = [image, image.replace(".png", ".json")]
        for file in files:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(f"this is {file}")
        write_manifest(manifest_of(tmp_path, part), files)
    return tmp_path


def manifest_of(run: Path, part: str = "night/cat") -> Path:
    return run / MANIFEST.format(stage="batches", part=part)


def image_of(run: Path) -> Path:
    return run / FILES["night/cat"]


def test_nothing_is_stale_at_first(run: Path) -> None:
    assert drop_stale_manifests(run) == []


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
def test_a_harmed_file_makes_its_own_manifest_stale(
    run: Path, harm: Callable[[Path], None]
) -> None:
    harm(image_of(run))
    assert drop_stale_manifests(run) == [manifest_of(run)]
    assert not manifest_of(run).exists()
    assert manifest_of(run, "night/dog").is_file()


def test_a_copied_run_stays_as_it_is(run: Path) -> None:
    """Other dates of the same files are no change; the manifest keeps its own date."""
    image, manifest = image_of(run), manifest_of(run)
    copy = image.with_name("copy")
    shutil.copyfile(image, copy)
    os.replace(copy, image)
    os.utime(manifest, (1e9, 1e9))
    before = manifest.read_text()
    assert drop_stale_manifests(run) == []
    assert manifest.stat().st_mtime == 1e9
    assert manifest.read_text() != before, "its files are not read a second time"


@pytest.mark.parametrize("text", ["", "[]", '{"files": {"a": 1}}', '{"batch": "night/cat"}'])
def test_a_damaged_manifest_is_stale(run: Path, text: str) -> None:
    manifest_of(run).write_text(text)
    assert drop_stale_manifests(run) == [manifest_of(run)]
