"""``python -m tools.demo_painters FOLDER``: paint the demo's styles and guides anew."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from tools.demo_painters.guides import write_guides
from tools.demo_painters.paint import write_styles

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m tools.demo_painters", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("config/demo"))
    folder = parser.parse_args().folder
    write_styles(folder / "styles")
    write_guides(folder / "guides")
