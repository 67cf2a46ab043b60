"""``nst report``: the report of a run as far as it has come."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from nstcore.errors import UserError
from nstcore.plan.snapshot import open_snapshot, read_plan, snapshot_path
from nstcore.report.outputs import make_report


def report_now(config: Path) -> int:
    """Build the report of a run that may be half-finished, with placeholders for what is missing.

    Args:
        config: the run's configuration, as it was given to ``nst run``.

    Raises:
        UserError: if the run has not come as far as its grid.
    """
    plan = read_plan(config)
    run, frozen = Path(plan.config.run_dir), snapshot_path(plan.config)
    if not frozen.is_file() or not (run / "grid.tsv").is_file():
        raise UserError(f"{run}: this run has no grid yet; nst run {config} makes it")
    make_report(open_snapshot(frozen))
    Console().print(f"{run / 'report' / 'index.html'}", soft_wrap=True, highlight=False)
    return 0
