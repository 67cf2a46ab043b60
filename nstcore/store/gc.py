"""Emptying the store of what no run refers to any more."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nstcore.store.cells import Store

LEFTOVER_AGE = 24 * 3600.0
"""Seconds after which a file that no record names is no longer about to get one."""


@dataclass(frozen=True)
class Garbage:
    """What a collection found: cells that are kept, files that go, and the bytes these take."""

    kept: int
    keys: tuple[str, ...]
    files: tuple[Path, ...]
    bytes: int


def referenced_keys(results: Iterable[Path]) -> set[str]:
    """Keys of all cells that the runs below some results folders have or plan to have."""
    found: set[str] = set()
    for folder in results:
        # Path.glob would look into the store too, whose records name every key.
        for run in (path for path in folder.iterdir() if not path.name.startswith(".")):
            for grid in run.glob("grid.tsv"):
                with open(grid, encoding="utf-8", newline="") as file:
                    found.update(row["key"] for row in csv.DictReader(file, delimiter="\t"))
            for path in (*run.glob("cells/**/*.json"), *run.glob("refined/**/*.json")):
                try:
                    found.add(json.loads(path.read_text(encoding="utf-8"))["key"])
                except (FileNotFoundError, ValueError, KeyError, TypeError):
                    continue
    return found


def find_garbage(store: Store, results: Iterable[Path]) -> Garbage:
    """Cells of the store that no run refers to, their measurements, and states nobody goes on from.

    Args:
        store: the store.
        results: every results folder that uses this store; a run elsewhere keeps its hard-linked
            pictures but would have to compute lost ones again.
    """
    wanted = referenced_keys(results)
    present = list(store.keys())
    unwanted = tuple(key for key in present if key not in wanted)
    files: list[Path] = []
    for key in unwanted:
        folder = store.path("cells", key, "").parent
        # The record first: a cell without a record does not exist.
        files += sorted(folder.glob(f"{key}.*"), key=lambda path: path.suffix != ".json")
    files += _leftovers(store, set(files))
    finished = set(present)
    for folder in sorted((store.root / "checkpoints").glob("*/*")):
        # States of pictures that are finished, or that no run wants any more.
        if folder.name in finished or folder.name not in wanted:
            files += sorted(path for path in folder.rglob("*") if path.is_file())
    kept_images = {_image_checksum(store, key) for key in present if key in wanted}
    for path in store.objects("metrics"):
        try:
            image = json.loads(path.read_text(encoding="utf-8")).get("image")
        except ValueError:
            image = None
        if image not in kept_images:
            files.append(path)
    size = sum(path.stat().st_size for path in files)
    return Garbage(len(present) - len(unwanted), unwanted, tuple(files), size)


def remove_garbage(garbage: Garbage) -> None:
    """Delete the files of a collection."""
    for path in garbage.files:
        path.unlink(missing_ok=True)


def _leftovers(store: Store, known: set[Path]) -> list[Path]:
    """Files of processes that were killed at their work, and pictures that a later one replaced."""
    named: dict[Path, str | None] = {}
    passing = (*(store.root / "metrics").glob("*/.*"), *(store.root / "claims").glob("*/*"))
    found = [path for path in sorted(passing) if _is_old(path)]
    for path in sorted((store.root / "cells").glob("*/*")):
        if path in known or (path.suffix == ".json" and not path.name.startswith(".")):
            continue
        key = path.name.partition(".")[0]
        if path.parent / key not in named:
            record = store.read("cells", key) if key else None
            named[path.parent / key] = record["image"]["file"] if record else None
        if named[path.parent / key] != path.name and _is_old(path):
            found.append(path)
    return found


def _is_old(path: Path) -> bool:
    """Whether nobody is writing a file any more."""
    try:
        return path.stat().st_mtime < time.time() - LEFTOVER_AGE
    except FileNotFoundError:  # it has just been finished and has its own name now
        return False


def _image_checksum(store: Store, key: str) -> str | None:
    record = store.read("cells", key)
    return record["image"]["sha256"] if record else None
