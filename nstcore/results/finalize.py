"""The last word on a run: whether every cell was made, and is within the limits that were set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nstcore.errors import StoreError, UserError
from nstcore.plan import paths
from nstcore.plan.compared import FOLDER, SUMMARY
from nstcore.plan.plan import Plan
from nstcore.plan.record import CellRecord
from nstcore.results.select_refined import promoted
from nstcore.store.files import write_json


def finalize(plan: Plan, summary: Path) -> None:
    """Write the run's summary, or report the cells that failed and the limits that were exceeded.

    Placeholders of failed cells are removed, so that the next call of the workflow tries them again.

    Raises:
        UserError: if cells failed and the configuration does not allow that, or the comparison with
            other runs went beyond its limits.
    """
    failures: list[str] = []
    cells = list(plan.cells())
    summary_of: dict[str, Any] = {"cells": len(cells)}
    if plan.config.refine is not None:
        again = [refined for _, refined in promoted(plan)]
        summary_of["refined"] = len(again)
        cells += again
    for cell in cells:
        image = Path(plan.config.run_dir) / cell.image
        reason = _failure(image)
        if reason is not None:
            failures.append(f"{cell.image}: {reason}")
            if not plan.config.allow_failures:
                image.unlink(missing_ok=True)
    problems: list[str] = []
    if failures and not plan.config.allow_failures:
        problems.append(
            f"{len(failures)} of {len(cells)} cells failed; the report shows the rest. "
            "The next call tries them again; `allow_failures: true` accepts them."
        )
        problems += [f"  {line}" for line in failures[:20]]
    if plan.config.compare is not None:
        problems += _beyond_limits(Path(plan.config.run_dir) / FOLDER / SUMMARY)
    if problems:
        raise UserError("\n".join(problems))
    write_json(summary, {**summary_of, "failed": failures})


def _beyond_limits(comparison: Path) -> list[str]:
    """A line for each limit of the comparison that is exceeded, or of which that cannot be told."""
    limits = json.loads(comparison.read_text(encoding="utf-8"))["limits"]
    return [
        f"compare.fail_if: {limit['limit']}: {limit['problem'] or limit['says']}"
        for limit in limits
        if limit["exceeded"] or limit["problem"] is not None
    ]


def _failure(image: Path) -> str | None:
    """Why an image was not made; None if it was."""
    path = paths.record_path(image)
    try:
        record = CellRecord.read(path)
    except StoreError as error:
        return str(error).removeprefix(f"{path}: ")
    return None if record.status == "ok" else record.reason or record.status
