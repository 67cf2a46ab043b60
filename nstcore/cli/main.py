"""``nst``: every command is a parser and a function that gets the parsed arguments."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nstcore
from nstcore.errors import Preempted, UserError

MODULES = {
    "init": "init_command",
    "doctor": "doctor_command",
    "run": "run_command",
    "plan": "plan_command",
    "status": "results_commands",
    "report": "results_commands",
    "film": "results_commands",
    "gc": "results_commands",
    "stylize": "image_commands",
    "reproduce": "image_commands",
    "compare": "compare_command",
    "demo": "main",
    "distill": "main",
    "schema": "main",
}
"""Command -> the module of this package that adds its parser."""


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands.

    Args:
        command: the only one that is asked for, so that no other command's imports are waited for.
    """
    parser = argparse.ArgumentParser(
        prog="nst",
        description="Neural style transfer over a grid of contents, styles and settings.",
    )
    parser.add_argument("--version", action="version", version=f"nst {nstcore.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    wanted = [MODULES[command]] if command in MODULES else dict.fromkeys(MODULES.values())
    for module in wanted:
        importlib.import_module(f"nstcore.cli.{module}").add_parsers(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``nst`` and return its exit status: 0, 1 for a user's mistake, 2 for wrong arguments.

    ``nst reproduce`` and ``nst compare`` return 2 for a user's mistake: their 1 means that the image
    differs, or that a limit is exceeded.
    """
    words = sys.argv[1:] if arguments is None else arguments
    parser = build_parser(words[0] if words else None)
    parsed, rest = parser.parse_known_args(words)
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


# --- The small commands. ---


def add_parsers(commands: Any) -> None:
    """Add ``nst demo``, ``nst distill`` and ``nst schema``."""
    demo = commands.add_parser("demo", help="write the images of the demo grid")
    demo.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=Path("config/demo"),
        help="where to write them (default: config/demo)",
    )
    demo.set_defaults(function=write_demo)

    distill = commands.add_parser(
        "distill",
        help="train the compact encoder; needs a checkout",
        description="Train the compact encoder; see docs/encoders/compact.md. All options go to "
        "the training: python -m tools.distill --help lists them.",
    )
    distill.set_defaults(function=run_distill, takes_rest=True)

    schema = commands.add_parser("schema", help="print the JSON Schema of the configuration")
    schema.set_defaults(function=print_schema)


def write_demo(arguments: argparse.Namespace) -> int:
    """Write the images of the demo grid."""
    from nstcore import demo

    demo.write_demo(arguments.folder)
    return 0


def run_distill(arguments: argparse.Namespace) -> int:
    """Train the compact encoder."""
    root = Path(nstcore.__file__).resolve().parents[1]
    if not (root / "tools" / "distill").is_dir():
        raise UserError("distill: needs a checkout of the project; an installed wheel has no tools")
    sys.path.insert(0, str(root))
    status: int = importlib.import_module("tools.distill.__main__").main(arguments.rest)
    return status


def print_schema(_arguments: argparse.Namespace) -> int:
    """Print the JSON Schema of the configuration."""
    from nstcore.config.run import schema_text

    sys.stdout.write(schema_text())
    return 0
