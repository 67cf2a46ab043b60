"""A comparison in a folder: the page, the table, the summary."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from nstcore.compare.comparison import Comparison, compare_runs
from nstcore.compare.limits import ThresholdResult, check_thresholds, parse_thresholds
from nstcore.compare.page import write_page
from nstcore.compare.tables import summary, write_pairs
from nstcore.compare.words import overview
from nstcore.plan.compared import FOLDER, PAGE, SUMMARY, TABLE, compared_runs
from nstcore.plan.plan import Plan
from nstcore.store.files import write_json

log = logging.getLogger(__name__)

FILES = {"Table of all pairs": TABLE, "summary": SUMMARY}


def write_comparison(
    comparison: Comparison,
    folder: Path,
    outcomes: Sequence[ThresholdResult] = (),
    *,
    title: str | None = None,
    threads: int | None = None,
) -> None:
    """Write the page, one row a pair of cells, and the summary.

    Args:
        comparison: of two or more runs.
        folder: where to; made when needed.
        outcomes: what came of the limits.
        title: of the page (default: the names of the runs).
        threads: how many pictures are read at the same time (default: up to four).
    """
    write_pairs(comparison, folder / TABLE)
    write_page(comparison, folder / PAGE, outcomes, title=title, files=FILES, threads=threads)
    write_json(folder / SUMMARY, summary(comparison, outcomes))


def make_comparison(plan: Plan, *, threads: int | None = None) -> None:
    """Compare a finished run with those that its configuration names.

    Limits are for this run only; whether one is exceeded stands in the summary, so that what can be
    shown is there before the run ends with an error.

    Raises:
        UserError: if a run cannot be read, or cells cannot be told apart.
    """
    given = plan.config.compare
    assert given is not None
    run = Path(plan.config.run_dir)
    folders = [*map(Path, compared_runs(plan.config)), run]
    comparison = compare_runs(folders, given.ignore)
    own = comparison.compared[-1]
    for line in [*own.warnings, *overview(own)]:
        log.info("%s", line)
    outcomes = check_thresholds(comparison, parse_thresholds(given.fail_if), only=own)
    for outcome in outcomes:
        log.info("%s", outcome.line)
    write_comparison(comparison, run / FOLDER, outcomes, threads=threads)
