"""``nst gc``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from nstcore.errors import UserError
from nstcore.store.cells import Store
from nstcore.store.gc import find_garbage, remove_garbage


def collect_garbage(results: Sequence[Path], store: Path | None, *, dry_run: bool) -> int:
    """Remove from the store what no run below ``results`` refers to."""
    for folder in results:
        if not folder.is_dir():
            raise UserError(f"--results: there is no folder {folder}")
    root = store or results[0] / ".store"
    if not root.is_dir():
        raise UserError(f"there is no store {root}; name it with --store")
    garbage = find_garbage(Store(root), results)
    megabytes = garbage.bytes / 1e6
    verb = "would remove" if dry_run else "removed"
    if not dry_run:
        remove_garbage(garbage)
    Console().print(
        f"{verb} {len(garbage.keys)} cells ({len(garbage.files)} files, {megabytes:.1f} MB), "
        f"kept {garbage.kept}"
    )
    return 0
