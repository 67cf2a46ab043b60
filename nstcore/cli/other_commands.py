"""``nst demo``, ``nst distill`` and ``nst schema``."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import nstcore
from nstcore.errors import UserError


def add_parsers(commands: Any) -> None:
    """Add the commands to ``nst``."""
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
