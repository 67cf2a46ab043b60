"""The sizes at which contents are prepared, by their names in paths."""

from __future__ import annotations

from collections.abc import Iterable

from nstcore.config.settings import Settings
from nstcore.grid import paths
from nstcore.images.sizing import SizeBy

LabelledSizes = dict[str, tuple[int, SizeBy]]
"""Name of a size in paths -> the size, and what it is the size of."""


def sizes_of(settings: Iterable[Settings]) -> LabelledSizes:
    """The sizes of some settings, ascending."""
    ordered = sorted(settings, key=lambda one: (one.size, one.size_by))
    return {paths.size_label(one): (one.size, one.size_by) for one in ordered}
