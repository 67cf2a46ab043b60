"""Manifests: what a job has made, with what tells whether it is still the same.

A manifest is the output of a job that makes many files.  Snakemake then keeps track of one file a job,
however many cells and inputs a run has.  It must not stay when one of its files is gone: see
`drop_stale_manifests`.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nstcore.plan import paths
from nstcore.store.files import file_sha256, write_json

log = logging.getLogger(__name__)

FOLDER = Path(paths.MANIFEST).parts[0]


def write_manifest(manifest: Path | str, files: Iterable[str]) -> None:
    """Write a manifest of files that are all there.

    Args:
        manifest: its own path, in the folder of its run.
        files: paths from the run's folder.
    """
    run = _run_of(Path(manifest))
    entries = {file: {**_state(run / file), "sha256": file_sha256(run / file)} for file in files}
    write_json(manifest, {"files": entries})


def drop_stale_manifests(run: Path) -> list[Path]:
    """Remove the manifests of a run of which a file is missing or has changed, and return them.

    Their jobs then run again, and find in the store what is there.  Files that were only copied are
    compared by checksum once, and their manifest learns their new dates.
    """
    stale = []
    for path in sorted((run / FOLDER).rglob("[!.]*.json")):
        try:
            intact = _is_intact(path, json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:  # a job has just begun to make it again
            continue
        except (ValueError, KeyError, TypeError, AttributeError):
            intact = False
        if not intact:
            log.info("%s: a file is missing or has changed", path)
            path.unlink(missing_ok=True)
            stale.append(path)
    return stale


def _is_intact(path: Path, manifest: dict[str, Any]) -> bool:
    run, moved = _run_of(path), False
    for file, entry in manifest["files"].items():
        try:
            state = _state(run / file)
        except FileNotFoundError:
            return False
        if state == {name: entry[name] for name in state}:
            continue
        if state["size"] != entry["size"] or file_sha256(run / file) != entry["sha256"]:
            return False
        entry.update(state)
        moved = True
    if moved:
        info = path.stat()
        write_json(path, manifest)
        # For Snakemake it is the same output.
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    return True


def _run_of(manifest: Path) -> Path:
    return next(folder.parent for folder in manifest.parents if folder.name == FOLDER)


def _state(file: Path) -> dict[str, int]:
    info = file.stat()
    return {"size": info.st_size, "mtime_ns": info.st_mtime_ns}
