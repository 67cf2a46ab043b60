"""A comparison in words and numbers, for terminals and logs."""

from __future__ import annotations

import math
from collections.abc import Iterator

from nstcore.compare.changes import Change
from nstcore.compare.comparison import ADDED, BROKEN, GONE, MENDED, MISSING, UNFINISHED, Compared

STATES = {
    BROKEN: "finished in {a}, not in {b}",
    MENDED: "finished in {b}, not in {a}",
    UNFINISHED: "finished in neither",
    MISSING: "without a record in one of them",
    GONE: "gone: only in {a}",
    ADDED: "added: only in {b}",
}
"""What cells that cannot be compared are, the worst first."""


def state_words(state: str, one: Compared) -> str:
    """What a state means, with the names of the two runs."""
    return STATES[state].replace("{a}", one.baseline.name).replace("{b}", one.run.name)


def count_text(count: int, thing: str) -> str:
    """``1 pair``, ``12 pairs``."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def change_text(value: float, *, relative: bool) -> str:
    """A change with its sign: ``+5.3 %`` or ``-0.0123``; a dash where there is none."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "from zero" if value > 0 else "below zero from zero"
    if value == 0:
        return "0 %" if relative else "0"
    if not relative:
        return f"{value:+.4g}"
    percent = 100 * value
    return f"{percent:+.1f} %" if abs(percent) < 1000 else f"{percent:+.3g} %"


def interval_text(change: Change) -> str:
    """``-1.0 % … +2.0 % (12 cells)``, or what it would be over."""
    what, count = change.over
    over = count_text(count, what.removesuffix("s"))
    if change.interval is None:
        return f"– ({over})"
    low, high = (change_text(end, relative=True) for end in change.interval)
    return f"{low} … {high} ({over})"


def overview(one: Compared) -> Iterator[str]:
    """What to say of a run before its metrics, line by line."""
    counts = one.counts
    yield (
        f"{one.run.name} against {one.baseline.name}: {count_text(counts['pairs'], 'pair')} of cells, "
        f"{counts['identical']} with identical pictures"
    )
    for name, (before, after) in one.changed.items():
        yield f"changed: {name} {before} → {after}"
    for name, (before, after) in one.made_with.items():
        yield f"made with: {name} {before} → {after}"
    for state in STATES:
        count = counts["added"] if state == ADDED else one.states.count(state)
        if count:
            yield f"{count_text(count, 'cell')} {state_words(state, one)}"
