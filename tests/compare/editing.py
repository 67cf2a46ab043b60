"""Changing the records of a run that `synthetic.write_run` wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def edit(run: Path, change: Callable[[dict[str, Any]], object], where: str = "*/*/*") -> Path:
    """Hand every record below ``cells`` (or some) to a function that changes it, and write it back."""
    files = sorted((run / "cells").glob(f"{where}.json"))
    assert files
    for file in files:
        record = json.loads(file.read_text())
        change(record)
        file.write_text(json.dumps(record))
    return run


def scale(metric: str, factor: float) -> Callable[[dict[str, Any]], None]:
    """Multiply one metric."""

    def change(record: dict[str, Any]) -> None:
        if metric in record["metrics"]:
            record["metrics"][metric] *= factor

    return change


def setting(**values: Any) -> Callable[[dict[str, Any]], None]:
    """Set settings."""
    return lambda record: record["settings"].update(values)
