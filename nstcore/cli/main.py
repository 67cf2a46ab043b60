"""``nst``: every command is a parser and a function that gets the parsed arguments."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import nstcore
from nstcore.cli import (
    compare_command,
    image_commands,
    other_commands,
    plan_command,
    results_commands,
    run_command,
)
from nstcore.errors import UserError
from nstcore.jobs.job import Preempted


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="nst",
        description="Neural style transfer over a grid of contents, styles and settings.",
    )
    parser.add_argument("--version", action="version", version=f"nst {nstcore.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run_command.add_parser(commands)
    plan_command.add_parser(commands)
    results_commands.add_parsers(commands)
    image_commands.add_parsers(commands)
    compare_command.add_parser(commands)
    other_commands.add_parsers(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``nst`` and return its exit status: 0, 1 for a user's mistake, 2 for wrong arguments.

    ``nst reproduce`` and ``nst compare`` return 2 for a user's mistake: their 1 means that the image
    differs, or that a limit is exceeded.
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
