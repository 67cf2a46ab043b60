"""How the cells of a run become batches, each of which one job makes in one process.

Every part of a batch's name follows from the values of its own cells and from numbers of buckets, so
that another content, style or value moves no cell into another batch, unless a number of buckets has
to double.  Even then no cell's key changes, and no finished cell is computed again.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import fmean

from nstcore.config.run import Config
from nstcore.plan.axes import Point
from nstcore.plan.cells import Pair
from nstcore.plan.values import INPUT_AXES, format_values, setting_name, shorten

LOCAL_MINUTES = 10.0
"""How long a job should take where the configuration says nothing: long beside its start, short enough
to see a large grid grow."""


INPUTS_PER_JOB = 32
"""How many contents or styles one job prepares at most, on average."""


def split_inputs(names: Iterable[str]) -> dict[str, list[str]]:
    """Parts of some contents or styles, each of which one job prepares: name of the part -> its members.

    As in batches, another name moves no other one, unless the number of parts has to double.
    """
    names = list(names)
    count = power_of_two(len(names) / INPUTS_PER_JOB)
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault("all" if count == 1 else bucket(name, count), []).append(name)
    return parts


@dataclass(frozen=True)
class BatchAxes:
    """How batches divide styles and contents.

    Attributes:
        separate: which of ``style`` and ``content`` have a batch for each value.
        split: the other axis, if its values are divided into hash buckets.
        buckets: how many.
    """

    separate: frozenset[str]
    split: str | None = None
    buckets: int = 1


class BatchPlan:
    """The batches of a run.

    Args:
        config: of the run.
        pairs: style and content -> their points.
        seconds: estimated time of the cell of a style, a content and a point; called only if the
            configuration has a target for the length of jobs.
    """

    def __init__(
        self,
        config: Config,
        pairs: Mapping[Pair, Sequence[Point]],
        seconds: Callable[[str, str, Point], float],
    ) -> None:
        self.config = config
        minutes = config.cluster.target_minutes
        self._given = "batch_by" in config.model_fields_set or config.batch_split is not None
        self._target = None if minutes is None else 60.0 * minutes
        self._seconds = seconds
        self.axes = BatchAxes(frozenset())
        self._pieces: dict[tuple[str, str, str], str] = {}
        if self._given or minutes is not None:
            self.axes = self._choose_axes(pairs)
            self._points = self._point_names(pairs)
        else:
            self._cut(pairs)

    def batch(self, style: str, content: str, point: Point) -> str:
        """Name of the batch of a cell: the values of its job's axes, and its buckets."""
        if self._pieces:
            return self._pieces[style, content, point.stem]
        parts = (*self._inputs(style, content), self._points[point.stem])
        buckets = ",".join(part for part in parts[2:] if part)
        return "/".join(part for part in (*parts[:2], buckets) if part) or "all"

    def _inputs(self, style: str, content: str) -> tuple[str, str, str]:
        """Style and content of a batch, empty where batches are not separate, and its bucket."""
        separate = self.axes.separate
        return (
            style if "style" in separate else "",
            content if "content" in separate else "",
            self._bucket_of(style, content),
        )

    def _cut(self, pairs: Mapping[Pair, Sequence[Point]]) -> None:
        """Cut the grid into pieces of the same length, as many for each worker.

        The cells of a content follow each other: images of one shape are optimized together.
        """
        rank = {content: n for n, content in enumerate(dict.fromkeys(c for _, c in pairs))}
        cells = [
            (style, content, point)
            for style, content in sorted(pairs, key=lambda pair: rank[pair[1]])
            for point in pairs[style, content]
        ]
        taken = [self._seconds(*cell) for cell in cells]
        total, workers = sum(taken), self.config.workers
        most = max(total / (60 * LOCAL_MINUTES), len(cells) / self.config.max_cells_per_batch)
        count = min(len(cells), workers * max(1, ceil(most / workers)))
        passed = 0.0
        for (style, content, point), seconds in zip(cells, taken, strict=True):
            piece = min(count, 1 + int(count * (passed + seconds / 2) / total))
            passed += seconds
            name = "all" if count == 1 else f"part{piece}of{count}"
            self._pieces[style, content, point.stem] = name

    # --- styles and contents -----------------------------------------------------------------------

    def _choose_axes(self, pairs: Mapping[Pair, Sequence[Point]]) -> BatchAxes:
        """As the configuration says, or so that the length of batches is near the target."""
        config = self.config
        if self._given:
            return BatchAxes(frozenset(config.batch_by) & frozenset(INPUT_AXES))
        fills = [self._fill(pair, points) for pair, points in pairs.items()]
        total = sum(fills)
        if total > len(fills) / 2:
            return BatchAxes(frozenset(INPUT_AXES))
        # A job keeps one style, or one content, while that alone fills it.
        for position, axis in enumerate(INPUT_AXES):
            jobs = total / max(1, len({pair[position] for pair in pairs}))
            if jobs > 0.5:
                return BatchAxes(frozenset({axis}), INPUT_AXES[1 - position], power_of_two(jobs))
        return BatchAxes(frozenset(), "style", power_of_two(total))

    def _fill(self, pair: Pair, points: Sequence[Point]) -> float:
        """How many jobs the cells of a style and a content fill."""
        assert self._target is not None
        taken = sum(self._seconds(*pair, point) for point in points)
        return max(taken / self._target, len(points) / self.config.max_cells_per_batch)

    def _bucket_of(self, style: str, content: str) -> str:
        axes = self.axes
        if axes.split is None or axes.buckets == 1:
            return ""
        name = style if axes.split == "style" else content
        return f"{axes.split}s{bucket(name, axes.buckets)}"

    # --- points ------------------------------------------------------------------------------------

    def _point_names(self, pairs: Mapping[Pair, Sequence[Point]]) -> dict[str, str]:
        """A point's stem -> name of its values and, in a large batch, of its bucket."""
        by = [axis for axis in self.config.batch_by if axis not in INPUT_AXES]
        points = {point.stem: point for found in pairs.values() for point in found}
        labels = {stem: _label(by, point) for stem, point in points.items()}
        cells: dict[str, Counter[tuple[str, str, str]]] = defaultdict(Counter)
        taken: dict[str, dict[tuple[str, str, str], float]] = {name: {} for name in labels.values()}
        for (style, content), found in pairs.items():
            batch = self._inputs(style, content)
            for point in found:
                label = labels[point.stem]
                cells[label][batch] += 1
                if self._target is not None:
                    seconds = self._seconds(style, content, point)
                    taken[label][batch] = taken[label].get(batch, 0.0) + seconds
        members = Counter(labels.values())
        counts = {
            label: self._split(members[label], max(sizes.values()), taken[label].values())
            for label, sizes in cells.items()
        }
        return {
            stem: ",".join(
                part for part in (labels[stem], _part(points[stem], counts[labels[stem]])) if part
            )
            for stem in points
        }

    def _split(self, points: int, cells: int, seconds: Collection[float]) -> int:
        """Into how many hash buckets a batch is divided so that no job is too large or too long.

        A point's bucket depends on its own values and on the number of buckets alone, so that
        another value of an axis moves no point, unless the number itself has to double.

        Args:
            points: that the batches have.
            cells: of the largest batch.
            seconds: of every batch; empty without a target.
        """
        if self.config.batch_split is not None:
            return self.config.batch_split
        wanted = cells / self.config.max_cells_per_batch
        if self._target is not None:
            wanted = max(wanted, fmean(seconds) / self._target)
        return power_of_two(wanted, most=points)


def power_of_two(least: float, most: int | None = None) -> int:
    """The smallest power of two that is not less, or the first that is not below ``most``."""
    count = 1
    while count < least and (most is None or count < most):
        count *= 2
    return count


def _label(by: Sequence[str], point: Point) -> str:
    """The values that a point has along the swept axes of `batch_by`."""
    label = format_values({a: point.seed if a == "seed" else point.values[a] for a in by})
    return shorten(label, label)


def _part(point: Point, count: int) -> str:
    """The bucket of a point, the same whatever the order of the axes."""
    if count == 1:
        return ""
    ordered = dict(sorted(point.values.items()))
    return f"part{bucket(setting_name(ordered) + point.stem.removeprefix(point.name), count)}"


def bucket(text: str, count: int) -> str:
    """The hash bucket of a text: ``3of8``."""
    number = int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) % count
    return f"{number + 1}of{count}"
