"""Two runs that differ in what is told here: the style loss is 10% higher, one setting is another."""

from __future__ import annotations

from pathlib import Path

import pytest
from editing import edit, scale, setting
from synthetic import write_run


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    before = write_run(tmp_path, run="before")
    after = write_run(tmp_path, run="after")
    edit(after, setting(encoder="compact"))
    edit(after, scale("style_loss", 1.1))
    return before, after
