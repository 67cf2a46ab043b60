"""Names of settings: readable, safe as part of a path, and different for different values."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

LONGEST_VALUE = 48
LONGEST_NAME = 160
"""A file's name has at most 255 bytes on common file systems; suffixes and seeds need some."""


def format_value(value: Any) -> str:
    """One value as it stands in a path: ``0.1``, ``content``, ``relu1_1+relu3_1``.

    Numbers are spelt the shortest way that reads back as the same number, never with an exponent
    in between: 1000, not 1e3.  What cannot stand in a file name becomes a hyphen, and what was
    changed or is long ends in eight characters of its hash, so that two values never share a name.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        text = format(Decimal(repr(value)).normalize(), "f")
        if len(text) > 18:
            text = repr(value)
        return text
    if value is None:
        return "none"
    if isinstance(value, str):
        text = value
    elif isinstance(value, Mapping):
        plain = {float(v) for v in value.values()} == {1.0}
        parts = [name if plain else f"{name}x{format_value(v)}" for name, v in value.items()]
        text = "+".join(parts)
    elif isinstance(value, (list, tuple)):
        text = "+".join(format_value(item) for item in value)
    else:
        raise TypeError(f"no name for a {type(value).__name__}")
    safe = re.sub(r"[^A-Za-z0-9._+-]+", "-", text)
    if safe != text or len(safe) > LONGEST_VALUE or not safe:
        safe = f"{safe[: LONGEST_VALUE - 9]}~{digest(value)[:8]}"
    return safe


def setting_name(values: Mapping[str, Any]) -> str:
    """The name of one point of the sweep: ``style_weight=10,size=256``; ``default`` for no axis."""
    if not values:
        return "default"
    name = ",".join(f"{axis}={format_value(value)}" for axis, value in values.items())
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME - 9]}~{digest(dict(values))[:8]}"
    return name


def digest(value: Any) -> str:
    """sha256 of a value's canonical JSON (sorted keys, no spaces, no NaN)."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


# --- Estimates in words, no more exact than they are. ---


def format_duration(seconds: float) -> str:
    """A time: ``under 10 s``, ``40 s``, ``25 min``, ``7 h``, ``3 days``.

    Example:
        >>> [format_duration(s) for s in (3, 44, 250, 1490, 9000, 400_000)]
        ['under 10 s', '40 s', '4 min', '25 min', '2.5 h', '5 days']
    """
    if seconds < 10:
        return "under 10 s"
    if seconds < 25:
        return f"{5 * round(seconds / 5)} s"
    if seconds < 115:
        return f"{round(seconds, -1):.0f} s"
    minutes = seconds / 60
    if minutes < 10:
        return f"{minutes:.0f} min"
    if minutes < 90:
        return f"{5 * round(minutes / 5)} min"
    hours = minutes / 60
    if hours < 10:
        return f"{round(2 * hours) / 2:g} h"
    if hours < 48:
        return f"{hours:.0f} h"
    return f"{hours / 24:.0f} days"


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
