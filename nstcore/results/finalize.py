"""The end of a run: check that every cell was made and that no threshold is exceeded."""

from __future__ import annotations

import json
from pathlib import Path

from nstcore.errors import StoreError, UserError
from nstcore.jobs.workflow_files import selected_cells
from nstcore.plan import paths
from nstcore.plan.plan import Plan
from nstcore.plan.record import CellRecord
from nstcore.store.files import write_json


def finalize(plan: Plan, summary: Path | str) -> None:
    """Write the run's summary, or report failed cells and exceeded thresholds.

    Placeholders of failed cells are removed, so that the next call of the workflow tries them again.

    Raises:
        UserError: cells failed and the configuration does not allow that, or the comparison with
            other runs exceeds a threshold.
    """
    failures: list[str] = []
    cells = list(plan.cells())
    counts = {"cells": len(cells)}
    if plan.config.refine is not None:
        refined = [cell for _, cell in selected_cells(plan)]
        counts["refined"] = len(refined)
        cells += refined
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
        folder = Path(plan.config.run_dir, paths.COMPARE_FOLDER)
        limits = json.loads((folder / paths.COMPARE_SUMMARY).read_text(encoding="utf-8"))["limits"]
        problems += [
            f"compare.fail_if: {limit['limit']}: {limit['problem'] or limit['says']}"
            for limit in limits
            if limit["exceeded"] or limit["problem"] is not None  # or it cannot be checked
        ]
    if problems:
        raise UserError("\n".join(problems))
    write_json(summary, {**counts, "failed": failures})


def _failure(image: Path) -> str | None:
    """Why an image was not made; None if it was."""
    path = paths.record_path(image)
    try:
        record = CellRecord.read(path)
    except StoreError as error:
        return str(error).removeprefix(f"{path}: ")
    return None if record.status == "ok" else record.reason or record.status
