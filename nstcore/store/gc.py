"""Garbage collection: removing what no run refers to from the store."""

from __future__ import annotations

import time
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from nstcore.store.cells import Store

LEFTOVER_AGE = 24 * 3600.0
"""Seconds after which a file that no record names was left by a process that was killed."""


@dataclass(frozen=True)
class GarbageReport:
    """The number of cells that stay, the keys of those to remove, their files and the files' size."""

    kept: int
    keys: tuple[str, ...]
    files: tuple[Path, ...]
    bytes: int


def find_garbage(store: Store, wanted: Set[str]) -> GarbageReport:
    """Find cells whose keys are not wanted, with their metrics and checkpoints, and leftover files."""
    present = store.keys()
    unwanted = tuple(key for key in present if key not in wanted)
    files: list[Path] = []
    for key in unwanted:
        folder = store.path("cells", key, "").parent
        # The record first: a cell without a record does not exist.
        files += sorted(folder.glob(f"{key}.*"), key=lambda path: path.suffix != ".json")
    files += _leftovers(store, set(files))
    finished = set(present)
    for folder in sorted((store.root / "checkpoints").glob("*/*")):
        if folder.name in finished or folder.name not in wanted:
            files += sorted(path for path in folder.rglob("*") if path.is_file())
    kept = [store.read("cells", key) for key in present if key in wanted]
    kept_images = {record["image"]["sha256"] for record in kept if record}
    for path in store.objects("metrics"):
        metrics = store.read("metrics", path.stem) or {}
        if metrics.get("image") not in kept_images:
            files.append(path)
    size = sum(path.stat().st_size for path in files)
    return GarbageReport(len(present) - len(unwanted), unwanted, tuple(files), size)


def remove_garbage(garbage: GarbageReport) -> None:
    """Delete the files that `find_garbage` found."""
    for path in garbage.files:
        path.unlink(missing_ok=True)


def _leftovers(store: Store, known: set[Path]) -> list[Path]:
    """Find old files of killed processes, and images that a later one replaced."""
    image_of: dict[str, str | None] = {}
    temporary = (*(store.root / "metrics").glob("*/.*"), *(store.root / "claims").glob("*/*"))
    found = [path for path in sorted(temporary) if _is_old(path)]
    for path in sorted((store.root / "cells").glob("*/*")):
        if path in known or (path.suffix == ".json" and not path.name.startswith(".")):
            continue
        key = path.name.partition(".")[0]
        if key not in image_of:
            record = store.read("cells", key) if key else None
            image_of[key] = record["image"]["file"] if record else None
        if image_of[key] != path.name and _is_old(path):
            found.append(path)
    return found


def _is_old(path: Path) -> bool:
    try:
        return path.stat().st_mtime < time.time() - LEFTOVER_AGE
    except FileNotFoundError:  # just finished, and renamed
        return False
