"""Estimates in words, no more exact than they are."""

from __future__ import annotations

import math


def about_seconds(seconds: float) -> str:
    """A time: ``under 10 s``, ``40 s``, ``25 min``, ``7 h``, ``3 days``.

    Example:
        >>> [about_seconds(s) for s in (3, 44, 250, 1490, 9000, 400_000)]
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


def about_bytes(count: float) -> str:
    """A size with two figures: ``under 1 MB``, ``35 MB``, ``1.2 GB``, ``250 GB``.

    Example:
        >>> [about_bytes(b) for b in (2e5, 3.46e7, 1.234e9, 2.54e11)]
        ['under 1 MB', '35 MB', '1.2 GB', '250 GB']
    """
    if count < 1e6:
        return "under 1 MB"
    figures = round(count, 1 - math.floor(math.log10(count)))
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if figures >= size:
            return f"{figures / size:g} {unit}"
    return f"{figures / 1e6:g} MB"
