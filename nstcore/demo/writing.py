"""Files of the demo, written where they are missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from nstcore.store.files import write_bytes


def write_files(
    directory: Path | str, files: Mapping[str, str], make: Callable[[str], bytes], *, replace: bool
) -> dict[str, Path]:
    """Write one file for each id.

    Args:
        directory: made when it is missing.
        files: id -> name of its file.
        make: gives the contents of the file of an id; asked only for what is written.
        replace: write anew what exists already.

    Returns:
        The file of each id.
    """
    written = {}
    for name, file in files.items():
        path = Path(directory) / file
        if replace or not path.exists():
            write_bytes(path, make(name))
        written[name] = path
    return written
