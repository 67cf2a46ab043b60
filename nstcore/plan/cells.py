"""Which cells a run has: the product of all axes or a sample of it, less some, and some more."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nstcore.config.expressions import FilterExpression
from nstcore.config.run import Config
from nstcore.config.sweep import LARGEST
from nstcore.core.settings import Settings
from nstcore.errors import ConfigError
from nstcore.plan.axes import Axes, Dimension, Point, Values, drawn_value, repeated, rows_of
from nstcore.plan.overrides import Overrides
from nstcore.plan.sample import draw
from nstcore.plan.values import format_value
from nstcore.store.files import digest

OUTER = ("style", "content", "seed")
"""Axes that no setting stands behind."""


@dataclass(frozen=True)
class Selection:
    """The points that every style and content have together.

    Attributes:
        axes: the axes of the sweep.
        seeds: all seeds, in order.
        points: every point that some cell has, in grid order.
        pairs: (style, content) -> its points, in grid order, for every pair that has any.
        drawn: what `sweep.sample` drew, as it would be written; None without.
    """

    axes: Axes
    seeds: tuple[int, ...]
    points: tuple[Point, ...]
    pairs: Mapping[tuple[str, str], tuple[Point, ...]]
    drawn: list[Values] | None


def select_cells(config: Config, overrides: Overrides) -> Selection:
    """Find the cells of a run.

    The product of the axes, or the sample of it, is thinned out by `exclude` and by `where`;
    what `include` names is added and stays.

    Args:
        config: the checked configuration.
        overrides: the contents and the styles.

    Raises:
        ConfigError: one line for every mistake.
    """
    return _Selector(config, overrides).select_cells()


class _Selector:
    def __init__(self, config: Config, overrides: Overrides) -> None:
        self.sweep = config.sweep
        self.overrides = overrides
        self.axes = Axes(config)
        self.styles: Collection[str] = overrides.styles
        self.contents: Collection[str] = overrides.contents
        self.seeds = list(self.sweep.seed_list)
        self.problems: list[str] = []
        self.points: dict[str, Point] = {}
        """Stem -> point, in grid order."""
        self.pairs: dict[tuple[str, str], dict[str, Point]] = {
            (style, content): {} for style in self.styles for content in self.contents
        }
        self.drawn: list[Values] | None = None

    def select_cells(self) -> Selection:
        for dimension in self.axes.dimensions:
            row = repeated(rows_of(dimension))
            if row is not None:
                listed = ",".join(f"{name}={format_value(value)}" for name, value in row.items())
                self.problems.append(
                    f"sweep.axes.{dimension[0].name}: two values give the same setting {listed}; "
                    "keep one"
                )
        self._stop_at_problems()
        if self.sweep.sample is None:
            self._take_product()
        else:
            self._take_sample()
        self._stop_at_problems()
        self._exclude()
        self._filter()
        self._stop_at_problems()
        if not any(self.pairs.values()) and not self.sweep.include:
            which = "sweep.where" if self.sweep.where is not None else "sweep.exclude"
            raise ConfigError([f"{which}: no cell is left"])
        self._include()
        self._stop_at_problems()
        rank = {stem: number for number, stem in enumerate(self.points)}
        pairs = {
            pair: tuple(points[stem] for stem in sorted(points, key=rank.__getitem__))
            for pair, points in self.pairs.items()
            if points
        }
        used = {stem for points in self.pairs.values() for stem in points}
        return Selection(
            self.axes,
            tuple(self.seeds),
            tuple(point for stem, point in self.points.items() if stem in used),
            pairs,
            self.drawn,
        )

    def _stop_at_problems(self) -> None:
        if self.problems:
            raise ConfigError(list(dict.fromkeys(self.problems)))

    def _point(self, values: Values, seed: int) -> Point:
        point = self.axes.point(values, seed)
        return self.points.setdefault(point.stem, point)

    # --- the product, or a sample of it -----------------------------------------------------------

    def _take_product(self) -> None:
        for values in self.axes.product([rows_of(d) for d in self.axes.dimensions]):
            for seed in self.seeds:
                point = self.axes.point(values, seed)
                if point.stem in self.points:
                    self.problems.append(
                        f"sweep.axes: two values give the same setting {point.name}; keep one"
                    )
                self.points[point.stem] = point
        count = len(self.points) * len(self.pairs)
        if count > LARGEST:
            self.problems.append(f"sweep: has {count:,} cells; at most {LARGEST:,} are possible")
            return
        for points in self.pairs.values():
            points.update(self.points)

    def _take_sample(self) -> None:
        sample = self.sweep.sample
        assert sample is not None
        names = sample.axes if sample.axes is not None else list(self.axes.by_name)
        if not names:
            self.problems.append("sweep.sample: there is no axis to draw from; give `sweep.axes`")
            return
        drawn = [d for d in self.axes.dimensions if any(axis.name in names for axis in d)]
        outer = {name: self._outer(name) for name in OUTER if name in names}
        if sample.points is not None:
            self.drawn = [dict(point) for point in sample.points]
            points = [
                point
                for index, given in enumerate(sample.points)
                if (point := self._read(f"sweep.sample.points[{index}]", given)) is not None
            ]
            expected = {axis.name for d in drawn for axis in d} | set(outer)
            for index, given in enumerate(sample.points):
                if set(given) != expected:
                    self.problems.append(
                        f"sweep.sample.points[{index}]: names {', '.join(given)}; it has to name "
                        f"{', '.join(sorted(expected))}"
                    )
        else:
            points = self._draw(drawn, outer)
            self.drawn = points
        if self.problems:
            return
        rest = [rows_of(d) for d in self.axes.dimensions if d not in drawn]
        for point in points:
            own = {name: value for name, value in point.items() if name not in OUTER}
            for values in self.axes.product([[own], *rest]):
                for seed in [point["seed"]] if "seed" in point else self.seeds:
                    new = self._point(values, seed)
                    for pair in self._pairs(point):
                        self.pairs[pair][new.stem] = new

    def _draw(
        self, dimensions: Sequence[Dimension], outer: Mapping[str, list[Any]]
    ) -> list[Values]:
        """Draw the points, the same whatever the order of the axes in the configuration."""
        sample = self.sweep.sample
        assert sample is not None
        if all(axis.values for dimension in dimensions for axis in dimension):
            sizes = [len(rows_of(d)) for d in dimensions] + [len(v) for v in outer.values()]
            if sample.n > math.prod(sizes):
                self.problems.append(
                    f"sweep.sample.n: there are only {math.prod(sizes)} points, not {sample.n}"
                )
                return []

        dimensions = sorted(dimensions, key=lambda d: min(axis.name for axis in d))

        def place(shares: Sequence[float]) -> tuple[str, Values]:
            point: Values = {}
            for dimension, share in zip(dimensions, shares, strict=False):
                point.update({axis.name: drawn_value(axis, share) for axis in dimension})
            for (name, values), share in zip(outer.items(), shares[len(dimensions) :], strict=True):
                point[name] = sorted(values)[int(share * len(values))]
            return digest(point), point

        try:
            found = draw(sample.method, len(dimensions) + len(outer), sample.n, sample.seed, place)
        except ValueError as error:  # the first of the ends is none that the setting may have
            self.problems.append(f"sweep.sample: {error}")
            return []
        if len(found) < sample.n:
            self.problems.append(
                f"sweep.sample.n: only {len(found)} different points were found, not {sample.n}"
            )
        return found

    def _outer(self, name: str) -> list[Any]:
        if name == "seed":
            return self.seeds
        return list(self.styles if name == "style" else self.contents)

    def _pairs(self, partial: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """The pairs of style and content that a partial cell means."""
        for style in [partial["style"]] if "style" in partial else self.styles:
            for content in [partial["content"]] if "content" in partial else self.contents:
                yield style, content

    # --- less some -------------------------------------------------------------------------------

    def _exclude(self) -> None:
        gone: list[tuple[tuple[str, str], str]] = []
        for index, given in enumerate(self.sweep.exclude):
            where = f"sweep.exclude[{index}]"
            partial = self._read(where, given)
            if partial is None:
                continue
            own = {n: digest(v) for n, v in partial.items() if n not in OUTER}
            stems = [
                stem
                for stem, point in self.points.items()
                if all(digest(point.values[name]) == value for name, value in own.items())
                and partial.get("seed", point.seed) == point.seed
            ]
            matched = [
                (pair, stem)
                for pair in self._pairs(partial)
                for stem in stems
                if stem in self.pairs[pair]
            ]
            if not matched and self.sweep.sample is None:
                self.problems.append(f"{where}: {_listed(partial)} matches no cell")
            gone += matched
        for pair, stem in gone:
            self.pairs[pair].pop(stem, None)

    def _filter(self) -> None:
        if self.sweep.where is None:
            return
        names = {*OUTER, *self.axes.by_name, *Settings.model_fields}
        condition = FilterExpression(self.sweep.where, names)
        inner = condition.names - {*OUTER, *self.axes.by_name}
        for (style, content), points in self.pairs.items():
            for stem, point in list(points.items()):
                values = {**point.values, "style": style, "content": content, "seed": point.seed}
                if inner:
                    try:
                        settings = self.overrides.settings(style, content, point)
                    except ConfigError:
                        continue  # told when all cells are resolved
                    values = {**{name: getattr(settings, name) for name in inner}, **values}
                try:
                    if not condition.holds(values.__getitem__):
                        del points[stem]
                except ValueError as error:
                    self.problems.append(f"sweep.where: {error}")
                    return

    # --- and some more ---------------------------------------------------------------------------

    def _include(self) -> None:
        for index, given in enumerate(self.sweep.include):
            where = f"sweep.include[{index}]"
            partial = self._read(where, given, new=True)
            if partial is None:
                continue
            if "seed" in partial and partial["seed"] not in self.seeds:
                self.seeds.append(partial["seed"])
            options = [self._options(where, d, partial) for d in self.axes.dimensions]
            rows = [option for option in options if option is not None]
            if len(rows) < len(options):
                continue
            added = False
            seeds = [partial["seed"]] if "seed" in partial else list(self.sweep.seed_list)
            for values in self.axes.product(rows):
                for seed in seeds:
                    point = self._point(values, seed)
                    for pair in self._pairs(partial):
                        added |= point.stem not in self.pairs[pair]
                        self.pairs[pair].setdefault(point.stem, point)
            if not added:
                self.problems.append(f"{where}: {_listed(partial)} is there already; remove it")

    def _options(self, where: str, dimension: Dimension, partial: Values) -> list[Values] | None:
        """The rows of a dimension that an included cell may have."""
        own = {axis.name: partial[axis.name] for axis in dimension if axis.name in partial}
        rows = rows_of(dimension)
        if not own:
            if not rows:
                self.problems.append(
                    f"{where}: names no `{dimension[0].name}`, which has no list of values"
                )
                return None
            return rows
        if len(own) == len(dimension):
            return [own]
        fitting = [r for r in rows if all(digest(r[n]) == digest(v) for n, v in own.items())]
        if not fitting:
            missing = next(axis.name for axis in dimension if axis.name not in own)
            self.problems.append(
                f"{where}: {_listed(own)} is new; give `{missing}`, which is zipped with it, too"
            )
            return None
        return fitting

    # --- what a person wrote ---------------------------------------------------------------------

    def _read(self, where: str, given: Mapping[str, Any], *, new: bool = False) -> Values | None:
        """A partial cell as the settings understand it, or None and its problems."""
        found: Values = {}
        before = len(self.problems)
        for name, value in given.items():
            place = f"{where}.{name}"
            if name in ("style", "content"):
                known = list(self._outer(name))
                if value not in known:
                    close = difflib.get_close_matches(str(value), known, n=1)
                    meant = f"did you mean {close[0]!r}?" if close else f"one of {_some(known)}"
                    self.problems.append(f"{place}: there is no {name} {value!r}; {meant}")
                found[name] = value
            elif name == "seed":
                if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
                    self.problems.append(f"{place}: a seed is a whole number, not {value!r}")
                elif new and not self.axes.with_seed:
                    self.problems.append(f"{place}: give `sweep.seeds` too")
                found[name] = value
            elif name in self.axes.by_name:
                axis = self.axes.by_name[name]
                try:
                    found[name] = axis.read(value)
                except ValueError as error:
                    self.problems.append(f"{place}: {error}")
                    continue
                known = [digest(other) for other in axis.values]
                if known and not new and digest(found[name]) not in known:
                    listed = _some([format_value(other) for other in axis.values])
                    self.problems.append(
                        f"{place}: {format_value(found[name])} is none of the axis's values, {listed}"
                    )
        return found if len(self.problems) == before else None


def _listed(values: Values) -> str:
    return ", ".join(f"{name}: {format_value(value)}" for name, value in values.items())


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
