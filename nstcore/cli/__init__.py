"""The command line: ``nst``."""

from nstcore.cli.main import main

__all__ = ["main"]
