"""``nst compare``: runs beside each other."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nstcore.compare.changes import change_text, interval_text
from nstcore.compare.comparison import Comparison, RunComparison, compare_runs
from nstcore.compare.comparison_files import summary, write_comparison
from nstcore.compare.thresholds import (
    ThresholdResult,
    check_thresholds,
    parse_thresholds,
)

WITHIN, EXCEEDED, MISTAKE = 0, 1, 2


def compare(arguments: argparse.Namespace) -> int:
    """Compare runs, write what was asked for, and say whether limits were exceeded.

    Returns:
        0, 1 if a limit is exceeded, 2 if it cannot be told whether one is.

    Raises:
        UserError: for a mistake in a limit or a run, before anything is written.
    """
    limits = parse_thresholds(arguments.fail_if)
    ignore = [name.strip() for given in arguments.ignore for name in given.split(",")]
    comparison = compare_runs(arguments.runs, [name for name in ignore if name])
    outcomes = check_thresholds(comparison, limits)
    if arguments.output is not None:
        write_comparison(comparison, arguments.output, outcomes)
    if arguments.json:
        json.dump(summary(comparison, outcomes), sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        show(comparison, outcomes)
    unclear = [outcome for outcome in outcomes if outcome.problem is not None]
    exceeded = [outcome for outcome in outcomes if outcome.exceeded]
    complaints = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    for outcome in [*exceeded, *unclear]:
        complaints.print(f"nst: {outcome.line}")
    return MISTAKE if unclear else EXCEEDED if exceeded else WITHIN


def show(comparison: Comparison, outcomes: Sequence[ThresholdResult]) -> None:
    """Print a comparison: as tables for a person at a terminal, else in plain lines."""
    console = Console(soft_wrap=True, highlight=False)
    for one in comparison.compared:
        for line in one.warnings:
            console.print(f"[yellow]warning:[/] {escape(line)}")
        for line in one.overview():
            console.print(escape(line))
        if console.is_terminal:
            console.print(metric_table(one))
        else:
            for name, *texts in rows_of(one):
                values = [f"{head} {text}" for head, text in zip(HEADS, texts, strict=True)]
                console.print(escape(f"{name}: {', '.join(values)}"))
    for outcome in outcomes:
        if not outcome.exceeded and outcome.problem is None:
            console.print(escape(outcome.line))


HEADS = ("cells", "median", "middle half", "95 % interval", "largest")


def rows_of(one: RunComparison) -> list[list[str]]:
    """For each metric its name and the texts below `HEADS`; all but ``cells`` are relative changes."""
    rows = []
    for name, change in one.changes.items():
        if not change.count:
            continue
        low, high = (change_text(change.quantile(share), relative=True) for share in (0.25, 0.75))
        largest = change.largest
        assert largest is not None
        rows.append(
            [
                name if one.comparable(name) else f"{name} (not comparable)",
                str(change.count),
                change_text(change.statistic("median", relative=True), relative=True),
                f"{low} … {high}",
                interval_text(change),
                change_text(float(change.relative[largest]), relative=True),
            ]
        )
    return rows


def metric_table(one: RunComparison) -> Table:
    """How every metric changed, for a terminal."""
    table = Table("metric", box=None, pad_edge=False)
    for head in HEADS:
        table.add_column(head, justify="right")
    for row in rows_of(one):
        table.add_row(*map(escape, row))
    return table
