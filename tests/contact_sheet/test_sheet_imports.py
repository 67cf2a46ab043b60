"""The workflow asks for page names whenever it is read: that must cost next to nothing."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("nstcore.contact_sheet.axes", ["pandas", "numpy", "PIL", "reportlab", "torch"]),
        ("nstcore.core.metrics", ["torch", "numpy", "scipy", "skimage", "PIL"]),
        ("nstcore.report.outputs", ["torch", "snakemake"]),
    ],
)
def test_importing_stays_light(module: str, absent: list[str]) -> None:
    code = f"import sys, {module}; print(*[name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
