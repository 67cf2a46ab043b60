"""How a cell is made again: the command for it, and its settings as a part of a configuration."""

from __future__ import annotations

import shlex
from pathlib import PurePath
from typing import Any

from nstcore.config.loader import dump_yaml
from nstcore.plan.record import CellRecord
from nstcore.report.payload import finite


def reproduce_command(picture: PurePath) -> str:
    """The command that makes a picture again, for a POSIX shell.

    Args:
        picture: its file, from the folder where the run was started.
    """
    path = picture.as_posix()
    if path.startswith("-"):
        path = f"./{path}"  # else it is an option
    return shlex.join(["nst", "reproduce", path])


def settings_yaml(record: CellRecord) -> str | None:
    """All settings of a cell as YAML that a configuration may hold; None where they are unknown."""
    return dump_yaml({"settings": record.settings}) if record.settings else None


def again_of(record: CellRecord | None, picture: PurePath) -> dict[str, Any] | None:
    """What the page tells of one cell when it is opened; None without a record.

    Args:
        record: of the cell.
        picture: its file, from the folder where the run was started.

    Returns:
        ``record`` without its trace, which the curves hold; ``yaml``: its settings; ``command``: what
        makes it again, None for one that was not made.
    """
    if record is None:
        return None
    made = record.status == "ok" and record.image is not None
    return {
        "record": finite(record.to_json(exclude={"trace"})),
        "yaml": settings_yaml(record),
        "command": reproduce_command(picture) if made else None,
    }
