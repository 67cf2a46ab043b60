"""``nst compare``: runs beside each other."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from nstcore.compare.comparison import Comparison, RunComparison
    from nstcore.compare.thresholds import ThresholdResult

WITHIN, EXCEEDED, MISTAKE = 0, 1, 2

METRIC_COLUMNS = ("cells", "median", "middle half", "95 % interval", "largest")


def add_parsers(commands: Any) -> None:
    """Add the command to ``nst``."""
    parser = commands.add_parser(
        "compare",
        help="compare images and metrics of several runs",
        description="Compare runs with the first of them: changed settings, added and removed cells, "
        "metrics cell by cell. Exit status: 0; 1 if a limit of --fail-if is exceeded; 2 for a mistake, "
        "or if a limit cannot be checked.",
    )
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="folders of runs, the baseline first"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FOLDER",
        help="write index.html, comparison.csv and summary.json here",
    )
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="SETTING",
        help="pair cells although they differ in this setting (may be repeated)",
    )
    parser.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar="LIMIT",
        help='fail if this is so, for example --fail-if "style_loss > +5%%" (may be repeated)',
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(function=compare, mistake=MISTAKE)


def compare(arguments: argparse.Namespace) -> int:
    """Compare runs, write what was asked for, and check the limits."""
    from nstcore.compare.comparison import compare_runs
    from nstcore.compare.comparison_files import summary, write_comparison
    from nstcore.compare.thresholds import check_thresholds, parse_thresholds

    limits = parse_thresholds(arguments.fail_if)
    ignore = [name.strip() for given in arguments.ignore for name in given.split(",")]
    comparison = compare_runs(arguments.runs, [name for name in ignore if name])
    results = check_thresholds(comparison, limits)
    if arguments.output is not None:
        write_comparison(comparison, arguments.output, results)
    if arguments.json:
        json.dump(summary(comparison, results), sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        print_comparison(comparison, results)
    unclear = [result for result in results if result.problem is not None]
    exceeded = [result for result in results if result.exceeded]
    errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    for result in [*exceeded, *unclear]:
        errors.print(f"nst: {result.line}")
    return MISTAKE if unclear else EXCEEDED if exceeded else WITHIN


def print_comparison(comparison: Comparison, results: Sequence[ThresholdResult]) -> None:
    """Print a comparison: tables at a terminal, plain lines elsewhere."""
    console = Console(soft_wrap=True, highlight=False)
    for one in comparison.compared:
        for line in one.warnings:
            console.print(f"[yellow]warning:[/] {escape(line)}")
        for line in one.overview():
            console.print(escape(line))
        rows = metric_rows(one)
        if console.is_terminal:
            table = Table("metric", box=None, pad_edge=False)
            for column in METRIC_COLUMNS:
                table.add_column(column, justify="right")
            for row in rows:
                table.add_row(*map(escape, row))
            console.print(table)
            continue
        for name, *texts in rows:
            values = map(" ".join, zip(METRIC_COLUMNS, texts, strict=True))
            console.print(escape(f"{name}: {', '.join(values)}"))
    for result in results:
        if not result.exceeded and result.problem is None:
            console.print(escape(result.line))


def metric_rows(one: RunComparison) -> list[list[str]]:
    """For each metric its name and the texts of `METRIC_COLUMNS`: relative changes, but for ``cells``."""
    from nstcore.compare.changes import change_text, interval_text

    rows = []
    for name, change in one.changes.items():
        largest = change.largest
        if largest is None:
            continue
        numbers = (
            change.statistic("median", relative=True),
            *change.quartiles(),
            float(change.relative[largest]),
        )
        median, low, high, most = (change_text(value, relative=True) for value in numbers)
        shown = name if one.comparable(name) else f"{name} (not comparable)"
        middle_half = f"{low} … {high}"
        rows.append([shown, str(change.count), median, middle_half, interval_text(change), most])
    return rows
