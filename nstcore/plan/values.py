"""How values are written and read: in paths, in tables, for people, and times and sizes in words."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

from nstcore.store.files import digest

INPUT_AXES = ("style", "content")
"""The axes whose values are ids of images."""

LONGEST_VALUE = 48
LONGEST_NAME = 160
"""A file name has at most 255 bytes on common file systems; suffixes and seeds need some of them."""

_INTEGER = re.compile(r"[+-]?\d{1,18}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

# --- In paths. ---


def format_value(value: Any) -> str:
    """One value as it appears in a path: ``0.1``, ``content``, ``relu1_1+relu3_1``.

    Numbers use the shortest spelling that reads back as the same number, without an exponent for
    everyday sizes: 1000, not 1e3.  Characters that a file name cannot have become a hyphen.  A text
    that was changed or is long ends in eight digits of its hash, so two values never share a name.

    Raises:
        TypeError: for a value that is no number, text, list, map, truth value or None.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        text = format(Decimal(repr(value)).normalize(), "f")
        return text if len(text) <= 18 else repr(value)
    if value is None:
        return "none"
    if isinstance(value, str):
        text = value
    elif isinstance(value, Mapping):
        equal = {float(weight) for weight in value.values()} == {1.0}
        parts = [name if equal else f"{name}x{format_value(v)}" for name, v in value.items()]
        text = "+".join(parts)
    elif isinstance(value, (list, tuple)):
        text = "+".join(format_value(item) for item in value)
    else:
        raise TypeError(f"cannot format a {type(value).__name__}")
    safe = re.sub(r"[^A-Za-z0-9._+-]+", "-", text)
    if safe != text or len(safe) > LONGEST_VALUE or not safe:
        safe = f"{safe[: LONGEST_VALUE - 9]}~{digest(value)[:8]}"
    return safe


def format_values(values: Mapping[str, Any], between: str = ",", equals: str = "=") -> str:
    """Several values with their names: ``style_weight=10,size=256``."""
    return between.join(f"{name}{equals}{format_value(value)}" for name, value in values.items())


def setting_name(values: Mapping[str, Any]) -> str:
    """The name of one point of the sweep: ``style_weight=10,size=256``; ``default`` without axes."""
    return shorten(format_values(values), dict(values)) if values else "default"


def shorten(name: str, value: Any) -> str:
    """A name of at most `LONGEST_NAME` characters; a longer one ends in the hash of ``value``."""
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}~{digest(value)[:8]}"


# --- In tables. ---


def table_text(value: Any) -> str:
    """A value as a field of a table: numbers and texts as they are, lists and maps as JSON."""
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value)
    if value is None or isinstance(value, bool):
        return "none" if value is None else str(value).lower()
    return str(value)


def parse_text(text: str) -> Any:
    """The value that a field of a table stands for, or the text itself."""
    bare = text.strip()
    if _INTEGER.fullmatch(bare):
        return int(bare)
    if _NUMBER.fullmatch(bare):
        return float(bare)
    if bare in ("", "None", "none", "null"):
        return None
    if bare in ("True", "False", "true", "false"):
        return bare.lower() == "true"
    if bare.startswith(("[", "{")):
        for parse in (json.loads, ast.literal_eval):
            try:
                return parse(bare)
            except (ValueError, SyntaxError):
                continue
    return text


ColumnType = Literal["Int64", "float64", "boolean", "string"]
"""Names of column types as pandas has them."""


def parse_column(texts: Sequence[str]) -> tuple[ColumnType, list[Any]]:
    """The narrowest type for all fields of a column, and the values; an empty field is None."""
    filled = [text for text in texts if text != ""]
    kind: ColumnType = "string"
    read: Any = str
    if filled and all(map(_INTEGER.fullmatch, filled)):
        kind, read = "Int64", int
    elif filled and all(map(_NUMBER.fullmatch, filled)):
        kind, read = "float64", float
    elif filled and all(text.lower() in ("true", "false") for text in filled):
        kind, read = "boolean", lambda text: text.lower() == "true"
    return kind, [read(text) if text else None for text in texts]


# --- For people. ---


def display_text(axis: str, value: Any) -> str:
    """One value of an axis as people see it, alike for a configuration's value and a table's field.

    ``10``, ``10.0`` and ``"10"`` are all "10"; lists are joined with "+", as are the names of a map
    whose values are all equal (but for ``region_weights``); truth is "true" or "false"; an empty value
    is "none".  Ids of styles and contents stay as they are.
    """
    if axis in INPUT_AXES:
        return str(value)
    if isinstance(value, str):
        value = parse_text(value)
    if isinstance(value, str):
        return value
    if value is None or type(value).__name__ == "NAType" or value != value:
        return "none"
    if isinstance(value, Mapping):
        if not value:
            return "none"
        texts = [display_text("", entry) for entry in value.values()]
        # Weights of layers only matter relative to each other; a region's weight is a factor.
        if len(set(texts)) == 1 and axis != "region_weights":
            return "+".join(value)
        return "+".join(f"{name}={text}" for name, text in zip(value, texts, strict=True))
    if isinstance(value, Sequence):
        return "+".join(display_text("", entry) for entry in value)
    if str(value) in ("True", "False"):  # numpy's truth values too
        return str(value).lower()
    return format_value(value)


def format_count(count: int, thing: str) -> str:
    """``1 batch``, ``2 batches``."""
    ending = "" if count == 1 else "es" if thing.endswith("ch") else "s"
    return f"{count} {thing}{ending}"


# --- Estimates in words, no more exact than they are. ---

_DURATIONS: tuple[tuple[float, float, str, float], ...] = (
    *((25, 1, "s", 5), (115, 1, "s", 10)),
    *((10, 60, "min", 1), (90, 60, "min", 5)),
    *((10, 3600, "h", 0.5), (48, 3600, "h", 1)),
)
"""Below so many units a duration is a multiple of a step of them: limit, seconds, name, step."""


def format_duration(seconds: float) -> str:
    """A time: ``under 10 s``, ``40 s``, ``25 min``, ``7 h``, ``3 days``.

    Example:
        >>> [format_duration(s) for s in (3, 44, 250, 1490, 9000, 400_000)]
        ['under 10 s', '40 s', '4 min', '25 min', '2.5 h', '5 days']
    """
    if seconds < 10:
        return "under 10 s"
    for limit, unit, name, step in _DURATIONS:
        if seconds < limit * unit:
            return f"{step * round(seconds / unit / step):g} {name}"
    return f"{seconds / 86400:.0f} days"


def format_size(count: float) -> str:
    """A size with two figures: ``under 1 MB``, ``35 MB``, ``1.2 GB``, ``250 GB``.

    Example:
        >>> [format_size(b) for b in (2e5, 3.46e7, 1.234e9, 2.54e11)]
        ['under 1 MB', '35 MB', '1.2 GB', '250 GB']
    """
    if count < 1e6:
        return "under 1 MB"
    figures = round(count, 1 - math.floor(math.log10(count)))
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if figures >= size:
            return f"{figures / size:g} {unit}"
    return f"{figures / 1e6:g} MB"
