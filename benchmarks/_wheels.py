"""Packages that a machine lacks, from wheels that were carried to it: no installer, no network."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WHEELS = ROOT / ".wheels"

NEEDED = ("filelock", "imagecodecs", "psutil", "pydantic", "tifffile", "yaml")
"""What the engine imports beside torch, torchvision, numpy, pillow, safetensors and scikit-image."""


def suits(wheel: str, version: tuple[int, int] = sys.version_info[:2]) -> bool:
    """Whether the file name of a wheel names a Python that this one is, or is a later one of."""
    found = re.search(r"-((?:cp|py)[0-9.cpy]+)-(\w+)-[^-]+\.whl$", wheel)
    if found is None:
        return False
    python, abi = found.groups()
    for tag in python.split("."):
        wanted = (int(tag[2]), int(tag[3:] or 0))
        if tag.startswith("py") or abi == "abi3":
            if wanted <= version and wanted[0] == version[0]:
                return True
        elif wanted == version:
            return True
    return False


def use_wheels(folder: Path = WHEELS, needed: Sequence[str] = NEEDED) -> list[str]:
    """Unpack the wheels of a folder where a needed package is missing, for this process and its children.

    They go into a temporary folder that stays: children of this process read it too.

    Returns:
        the packages that are missing still.
    """
    missing = [name for name in needed if find_spec(name) is None]
    wheels = [wheel for wheel in sorted(folder.glob("*.whl")) if suits(wheel.name)]
    if missing and wheels:
        site = tempfile.mkdtemp(prefix="nst-wheels-")
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
        sys.path.insert(0, site)
        known = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
        os.environ["PYTHONPATH"] = os.pathsep.join([site, *known])
        missing = [name for name in needed if find_spec(name) is None]
    return missing
