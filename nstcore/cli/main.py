"""``nst``: what a person types.

Every command is a parser and a function that gets the parsed arguments; the work is done below.
"""

from __future__ import annotations

import argparse
import importlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import nstcore
from nstcore.errors import UserError
from nstcore.jobs.shutdown import Preempted


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="nst",
        description="Neural style transfer over a grid of contents, styles and settings.",
    )
    parser.add_argument("--version", action="version", version=f"nst {nstcore.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="run a configuration's whole grid",
        description="Start the workflow with a configuration. All further options go to Snakemake: "
        "-n shows what would be done, --cores 4 uses four cores.",
    )
    run.add_argument("config", type=Path, help="the configuration, a YAML file")
    run.add_argument(
        "--slurm",
        action="store_true",
        help="send the jobs to a Slurm cluster: --workflow-profile slurm; see docs/cluster.md",
    )
    run.set_defaults(function=_run, takes_rest=True)

    plan = commands.add_parser(
        "plan",
        help="what a configuration's grid is and will take, before running it",
        description="Show the cells of a configuration, what the store has of them, the time, memory "
        "and disk that the others will take, and what would go wrong late in the run.",
    )
    plan.add_argument("config", type=Path, help="the configuration, a YAML file")
    plan.add_argument(
        "--no-probe",
        dest="probe",
        action="store_false",
        help="measure nothing, and leave out how long it takes",
    )
    plan.add_argument("--json", action="store_true", help="print everything as JSON, for programs")
    plan.add_argument(
        "--calibrate",
        action="store_true",
        help="only measure how fast this machine is, and print it as `cluster.tflops`",
    )
    plan.set_defaults(function=_plan)

    report = commands.add_parser(
        "report",
        help="the report of a run that is under way or was stopped",
        description="Build the report of a run from what there is of it, with placeholders for the rest. "
        "A run that comes to its end does so by itself.",
    )
    report.add_argument("config", type=Path, help="the configuration, a YAML file")
    report.set_defaults(function=_report)

    status = commands.add_parser(
        "status",
        help="how far a run is, from another shell and while it runs",
        description="Show how many cells of a run are done, failed, running and waiting, which jobs "
        "are at work and where, and how long it will take at the rate of the last hour.",
    )
    status.add_argument("run", type=Path, help="the folder of the run, such as results/demo")
    status.add_argument(
        "--watch", action="store_true", help="look again and again until the run is finished"
    )
    status.add_argument(
        "--every",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="between two looks of --watch (default: 10)",
    )
    status.add_argument("--json", action="store_true", help="print JSON, for programs")
    status.set_defaults(function=_status)

    stylize = commands.add_parser("stylize", help="make one picture, without the workflow")
    stylize.add_argument("content", type=Path, help="the picture to be stylized")
    stylize.add_argument("style", type=Path, help="the picture whose style is taken")
    stylize.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help="the file to write, .png, .jpg, .webp or .tif",
    )
    stylize.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any setting by its configuration key, for example --set style_weight=30 --set size=384",
    )
    stylize.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    stylize.add_argument(
        "--device", default="auto", choices=["auto", "cpu", "cuda", "mps"], help="where to compute"
    )
    stylize.add_argument("--force", action="store_true", help="overwrite the output if it exists")
    stylize.set_defaults(function=_stylize)

    reproduce = commands.add_parser(
        "reproduce",
        help="make a finished picture again from its record, and compare",
        description="Make a picture again from the record in it, or from the JSON beside it, and say "
        "whether it is identical. Exit status: 0 identical, 1 different, 2 a mistake such as a missing "
        "or changed input.",
    )
    reproduce.add_argument("picture", type=Path, help="a finished picture, or its record (.json)")
    reproduce.add_argument(
        "-o", "--output", type=Path, help="the file to write (default: NAME.again.SUFFIX beside it)"
    )
    reproduce.add_argument(
        "--root",
        type=Path,
        default=Path("."),
        help="folder that the recorded paths start from (default: this one)",
    )
    reproduce.add_argument(
        "--device",
        choices=["auto", "cpu", "cuda", "mps"],
        help="where to compute (default: where the picture was made)",
    )
    reproduce.add_argument(
        "--alone",
        action="store_true",
        help="without the pictures that were computed together with it: faster, but not to the byte",
    )
    reproduce.add_argument("--force", action="store_true", help="overwrite the output if it exists")
    reproduce.set_defaults(function=_reproduce, mistake=2)

    compare = commands.add_parser(
        "compare",
        help="put runs beside each other: pictures and metrics",
        description="Compare runs with the first of them: what was changed, cells that came and went, "
        "metrics cell by cell. Exit status: 0; 1 if a limit of --fail-if is exceeded; 2 for a mistake or "
        "where that cannot be told.",
    )
    compare.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="folders of runs, the baseline first"
    )
    compare.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FOLDER",
        help="write index.html, comparison.csv and summary.json there",
    )
    compare.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="SETTING",
        help="a setting in which cells may differ that belong together (may be repeated)",
    )
    compare.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar="LIMIT",
        help='what may not happen, for example --fail-if "style_loss > +5%%" (may be repeated)',
    )
    compare.add_argument(
        "--json", action="store_true", help="print everything as JSON, for programs"
    )
    compare.set_defaults(function=_compare, mistake=2)

    gc = commands.add_parser("gc", help="remove cells from the store that no run refers to")
    gc.add_argument(
        "--results",
        type=Path,
        nargs="+",
        default=[Path("results")],
        help="every results folder that uses the store (default: results)",
    )
    gc.add_argument("--store", type=Path, help="the store (default: .store in the first of them)")
    gc.add_argument("-n", "--dry-run", action="store_true", help="only show what would be removed")
    gc.set_defaults(function=_gc)

    demo = commands.add_parser("demo", help="write the pictures of the demo grid")
    demo.add_argument(
        "folder", type=Path, nargs="?", default=Path("config/demo"), help="where to (config/demo)"
    )
    demo.set_defaults(function=_demo)

    distill = commands.add_parser(
        "distill",
        help="train the compact encoder",
        description="Train the compact encoder; see docs/encoders/compact.md. All options go to "
        "the training: python -m tools.distill --help lists them.",
    )
    distill.set_defaults(function=_distill, takes_rest=True)

    schema = commands.add_parser("schema", help="print the JSON Schema of the configuration")
    schema.set_defaults(function=_schema)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``nst`` and return its exit status: 0, 1 for a user's mistake, 2 for wrong arguments.

    For ``nst reproduce`` a mistake is 2 as well, and 1 another picture; for ``nst compare`` a mistake
    is 2, and 1 an exceeded limit.
    """
    parser = build_parser()
    parsed, rest = parser.parse_known_args(arguments)
    if rest and not getattr(parsed, "takes_rest", False):
        parser.error(f"unknown argument: {rest[0]}")
    parsed.rest = rest
    mistake: int = getattr(parsed, "mistake", 1)
    try:
        status: int = parsed.function(parsed)
    except UserError as error:
        for line in str(error).splitlines():
            print(f"nst: {line}", file=sys.stderr)  # noqa: T201
        return mistake
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"nst: {where}{error.strerror or error}", file=sys.stderr)  # noqa: T201
        return mistake
    except (KeyboardInterrupt, Preempted):
        print("nst: interrupted", file=sys.stderr)  # noqa: T201
        return 130
    return status


def _run(arguments: argparse.Namespace) -> int:
    from nstcore.cli.workflow import run_workflow

    run_workflow(arguments.config, arguments.rest, slurm=arguments.slurm)


def _plan(arguments: argparse.Namespace) -> int:
    if arguments.calibrate:
        from nstcore.cli.jobs import show_calibration

        return show_calibration(arguments.config)
    from nstcore.cli.plan import show_plan

    return show_plan(arguments.config, probe=arguments.probe, as_json=arguments.json)


def _report(arguments: argparse.Namespace) -> int:
    from nstcore.cli.report import report_now

    return report_now(arguments.config)


def _status(arguments: argparse.Namespace) -> int:
    from nstcore.cli.status import show_status

    watch = arguments.every if arguments.watch else None
    return show_status(arguments.run, watch=watch, as_json=arguments.json)


def _seconds(text: str) -> float:
    """A time on the command line."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def _stylize(arguments: argparse.Namespace) -> int:
    from nstcore.cli.stylize import stylize_one

    return stylize_one(arguments)


def _reproduce(arguments: argparse.Namespace) -> int:
    from nstcore.cli.reproduce import reproduce

    return reproduce(arguments)


def _compare(arguments: argparse.Namespace) -> int:
    from nstcore.cli.compare import compare

    return compare(arguments)


def _gc(arguments: argparse.Namespace) -> int:
    from nstcore.cli.collect import collect_garbage

    return collect_garbage(arguments.results, arguments.store, dry_run=arguments.dry_run)


def _demo(arguments: argparse.Namespace) -> int:
    from nstcore.demo import write_demo

    write_demo(arguments.folder)
    return 0


def _distill(arguments: argparse.Namespace) -> int:
    root = Path(nstcore.__file__).resolve().parents[1]
    if not (root / "tools" / "distill").is_dir():
        raise UserError("distill: needs a checkout of the project; an installed wheel has no tools")
    sys.path.insert(0, str(root))
    status: int = importlib.import_module("tools.distill.__main__").main(arguments.rest)
    return status


def _schema(arguments: argparse.Namespace) -> int:
    from nstcore.config.docs import schema_text

    sys.stdout.write(schema_text())
    return 0
