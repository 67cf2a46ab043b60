"""The manifest of a batch: its images and records, with what tells whether they are still the same.

It is the output of the job that makes the batch: Snakemake then keeps track of one file a batch, however
many cells a run has.  It must not stay when one of its files is gone: see `drop_stale_manifests`.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nstcore.plan import paths
from nstcore.plan.plan import Cell, Plan
from nstcore.store.files import file_sha256, write_json

log = logging.getLogger(__name__)


def manifest_path(plan: Plan, batch: str) -> Path:
    """Where the manifest of a batch is."""
    return Path(plan.config.run_dir) / paths.MANIFEST.format(batch=batch)


def write_manifest(plan: Plan, cells: Sequence[Cell]) -> None:
    """Write the manifest of a batch whose cells are all made (or failed, with a placeholder)."""
    run = Path(plan.config.run_dir)
    files = [file for cell in cells for file in (cell.image, str(paths.record_path(cell.image)))]
    entries = {file: {**_state(run / file), "sha256": file_sha256(run / file)} for file in files}
    write_json(manifest_path(plan, cells[0].batch), {"batch": cells[0].batch, "files": entries})


def drop_stale_manifests(plan: Plan) -> list[str]:
    """Remove the manifests of batches that lack a file or have a changed one; returns those batches.

    Their jobs then run again, and find in the store what is there.  Files that were only copied are
    compared by checksum once, and their manifest learns their new dates.
    """
    stale = []
    for batch in plan.batches:
        path = manifest_path(plan, batch)
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            intact = _is_intact(path, manifest, Path(plan.config.run_dir))
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError, AttributeError):
            intact = False
        if not intact:
            log.info("%s: a file is missing or has changed", path)
            path.unlink(missing_ok=True)
            stale.append(batch)
    return stale


def _is_intact(path: Path, manifest: dict[str, Any], run: Path) -> bool:
    moved = False
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


def _state(file: Path) -> dict[str, int]:
    info = file.stat()
    return {"size": info.st_size, "mtime_ns": info.st_mtime_ns}
