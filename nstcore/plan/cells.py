"""The cells of a run: the product of all axes or a sample of it, filtered, with some added."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice, product
from typing import Any

from nstcore.config.expressions import FilterExpression
from nstcore.config.run import Config
from nstcore.config.sweep import LARGEST, Sample
from nstcore.core.settings import Settings
from nstcore.errors import ConfigError, collect_problems, did_you_mean, raise_problems
from nstcore.plan.axes import Axes, Dimension, Point, Values, dimension_rows, unit_points
from nstcore.plan.overrides import Overrides
from nstcore.plan.values import INPUT_AXES, format_value, format_values
from nstcore.store.files import digest

CELL_AXES = (*INPUT_AXES, "seed")
"""Axes of every run, which are not settings."""

Pair = tuple[str, str]
"""A style and a content."""

_BLOCKS = 64
"""How many blocks of points are drawn at most, if points of the first block were equal."""


@dataclass(frozen=True)
class Cell:
    """One output image: content x style x point.

    Attributes:
        settings: all settings: those of the point, and over them those of the content and the style.
        batch: name of its batch.
        image: path of the image, from the run's folder.
    """

    style: str
    content: str
    point: Point
    settings: Settings
    batch: str
    image: str

    @property
    def axes(self) -> dict[str, Any]:
        """Value of every axis: style, content, the swept settings, seed."""
        return {
            "style": self.style,
            "content": self.content,
            **self.point.values,
            "seed": self.point.seed,
        }


class Selection:
    """The cells of a run as points of every style with every content.

    `exclude` and `where` remove cells from the product of the axes, or from the sample of it; those of
    `include` are added and stay.

    Attributes:
        axes: the axes of the sweep.
        seeds: all seeds, in order.
        points: every point that some cell has, in grid order.
        pairs: style and content -> their points, in grid order, for every pair that has any.
        sample: the points that `sweep.sample` drew, as the configuration would have them.

    Raises:
        ConfigError: one line for every mistake.
    """

    def __init__(self, config: Config, overrides: Overrides) -> None:
        self.axes = Axes(config)
        self.seeds = list(config.sweep.seed_list)
        self.sample: list[Values] | None = None
        self._sweep, self._overrides = config.sweep, overrides
        self._inputs = {"style": overrides.styles, "content": overrides.contents}
        self._points: dict[str, Point] = {}
        """Stem -> point, in grid order."""
        self._pairs: dict[Pair, dict[str, Point]] = {pair: {} for pair in self._pairs_of({})}
        _check_values(self.axes)
        if self._sweep.sample is None:
            self._take_product()
        else:
            self._take_sample(self._sweep.sample)
        problems: list[str] = []
        for remove in (self._exclude, self._filter):
            with collect_problems(problems):
                remove()
        raise_problems(problems)
        if not any(self._pairs.values()) and not self._sweep.include:
            which = "sweep.where" if self._sweep.where is not None else "sweep.exclude"
            raise ConfigError([f"{which}: no cell is left"])
        self._include()
        rank = {stem: number for number, stem in enumerate(self._points)}
        self.pairs: dict[Pair, tuple[Point, ...]] = {
            pair: tuple(points[stem] for stem in sorted(points, key=rank.__getitem__))
            for pair, points in self._pairs.items()
            if points
        }
        used = {stem for points in self._pairs.values() for stem in points}
        self.points = tuple(point for stem, point in self._points.items() if stem in used)
        self._points, self._pairs = {}, {}  # large, and needed no more

    def _point(self, values: Values, seed: int) -> Point:
        point = self.axes.point(values, seed)
        return self._points.setdefault(point.stem, point)

    def _pairs_of(self, partial: Mapping[str, Any]) -> Iterator[Pair]:
        """The pairs of style and content of a partial cell."""
        styles, contents = (
            [partial[name]] if name in partial else known for name, known in self._inputs.items()
        )
        yield from product(styles, contents)

    # --- the product, or a sample of it -----------------------------------------------------------

    def _take_product(self) -> None:
        problems = []
        for values in self.axes.product([dimension_rows(d) for d in self.axes.dimensions]):
            for seed in self.seeds:
                point = self.axes.point(values, seed)
                if point.stem in self._points:
                    problems.append(
                        f"sweep.axes: two values give the same setting {point.name}; remove one"
                    )
                self._points[point.stem] = point
        count = len(self._points) * len(self._pairs)
        if count > LARGEST:
            problems.append(f"sweep: has {count:,} cells; at most {LARGEST:,} are possible")
        raise_problems(problems)
        for points in self._pairs.values():
            points.update(self._points)

    def _take_sample(self, sample: Sample) -> None:
        names = sample.axes if sample.axes is not None else list(self.axes.by_name)
        if not names:
            raise ConfigError(["sweep.sample: no axis to draw from; give `sweep.axes`"])
        drawn = [d for d in self.axes.dimensions if any(axis.name in names for axis in d)]
        known: dict[str, Collection[Any]] = {**self._inputs, "seed": self.seeds}
        others = {name: sorted(values) for name, values in known.items() if name in names}
        if sample.points is None:
            points = self.sample = _draw(sample, drawn, others)
        else:
            self.sample = [dict(point) for point in sample.points]
            points = self._frozen_sample({axis.name for d in drawn for axis in d} | set(others))
        rest = [dimension_rows(d) for d in self.axes.dimensions if d not in drawn]
        for point in points:
            swept = {name: value for name, value in point.items() if name not in CELL_AXES}
            for values in self.axes.product([[swept], *rest]):
                for seed in [point["seed"]] if "seed" in point else self.seeds:
                    new = self._point(values, seed)
                    for pair in self._pairs_of(point):
                        self._pairs[pair][new.stem] = new

    def _frozen_sample(self, expected: set[str]) -> list[Values]:
        """The points that a frozen configuration has."""
        points: list[Values] = []
        problems: list[str] = []
        for index, partial in enumerate(self.sample or []):
            where = f"sweep.sample.points[{index}]"
            with collect_problems(problems):
                points.append(self._parse(where, partial))
            if set(partial) != expected:
                problems.append(
                    f"{where}: names {', '.join(partial)}; it must name {', '.join(sorted(expected))}"
                )
        raise_problems(problems)
        return points

    # --- filters ---------------------------------------------------------------------------------

    def _exclude(self) -> None:
        @cache
        def stems_by(names: tuple[str, ...]) -> dict[str, list[str]]:
            """Digest of the values of these axes -> the points that have them."""
            found: dict[str, list[str]] = {}
            for stem, point in self._points.items():
                values = {**point.values, "seed": point.seed}
                found.setdefault(digest([values[name] for name in names]), []).append(stem)
            return found

        removed: list[tuple[Pair, str]] = []
        problems: list[str] = []
        for index, spec in enumerate(self._sweep.exclude):
            where = f"sweep.exclude[{index}]"
            with collect_problems(problems):
                partial = self._parse(where, spec)
                names = tuple(sorted(partial.keys() - set(INPUT_AXES)))
                stems = stems_by(names).get(digest([partial[name] for name in names]), ())
                matched = [
                    (pair, stem)
                    for pair in self._pairs_of(partial)
                    for stem in stems
                    if stem in self._pairs[pair]
                ]
                if not matched and self._sweep.sample is None:
                    problems.append(f"{where}: {_listed(partial)} matches no cell")
                removed += matched
        for pair, stem in removed:
            self._pairs[pair].pop(stem, None)
        raise_problems(problems)

    def _filter(self) -> None:
        if self._sweep.where is None:
            return
        names = {*CELL_AXES, *self.axes.by_name, *Settings.model_fields}
        condition = FilterExpression(self._sweep.where, names)
        needed = condition.names - {*CELL_AXES, *self.axes.by_name}
        for (style, content), points in self._pairs.items():
            for stem, point in list(points.items()):
                values = {**point.values, "style": style, "content": content, "seed": point.seed}
                if needed:
                    try:
                        settings = self._overrides.settings(style, content, point)
                    except ConfigError:
                        continue  # reported when all cells are resolved
                    values = {**{name: getattr(settings, name) for name in needed}, **values}
                try:
                    if not condition.holds(values.__getitem__):
                        del points[stem]
                except ValueError as error:
                    raise ConfigError([f"sweep.where: {error}"]) from None

    # --- additions -------------------------------------------------------------------------------

    def _include(self) -> None:
        problems: list[str] = []
        for index, spec in enumerate(self._sweep.include):
            where = f"sweep.include[{index}]"
            with collect_problems(problems):
                partial = self._parse(where, spec, new=True)
                if "seed" in partial and partial["seed"] not in self.seeds:
                    self.seeds.append(partial["seed"])
                rows: list[list[Values]] = []
                for dimension in self.axes.dimensions:
                    with collect_problems(problems):
                        rows.append(_options(where, dimension, partial))
                if len(rows) == len(self.axes.dimensions) and not self._add(partial, rows):
                    problems.append(f"{where}: the grid already has {_listed(partial)}; remove it")
        raise_problems(problems)

    def _add(self, partial: Values, rows: Sequence[Sequence[Values]]) -> bool:
        """Add the cells of a partial cell; whether any is new."""
        added = False
        seeds = [partial["seed"]] if "seed" in partial else self._sweep.seed_list
        for values in self.axes.product(rows):
            for seed in seeds:
                point = self._point(values, seed)
                for pair in self._pairs_of(partial):
                    added |= point.stem not in self._pairs[pair]
                    self._pairs[pair].setdefault(point.stem, point)
        return added

    # --- values as the user wrote them -----------------------------------------------------------

    def _parse(self, where: str, spec: Mapping[str, Any], *, new: bool = False) -> Values:
        """A partial cell with values as the settings hold them."""
        found: Values = {}
        problems: list[str] = []
        for name, value in spec.items():
            try:
                found[name] = self._parse_value(name, value, new)
            except ValueError as error:
                problems.append(f"{where}.{name}: {error}")
        raise_problems(problems)
        return found

    def _parse_value(self, name: str, value: Any, new: bool) -> Any:
        if name in INPUT_AXES:
            known = self._inputs[name]
            if not isinstance(value, str) or value not in known:
                raise ValueError(f"unknown {name} {value!r}; {did_you_mean(value, known)}")
            return value
        if name == "seed":
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
                raise ValueError(f"a seed is an integer from 0, not {value!r}")
            if new and not self.axes.with_seed:
                raise ValueError("give `sweep.seeds` too")
            return value
        axis = self.axes.by_name[name]
        parsed = axis.parse(value)
        if axis.values and not new and digest(parsed) not in axis.digests:
            listed = ", ".join(map(format_value, axis.values[:8]))
            more = ", …" if len(axis.values) > 8 else ""
            raise ValueError(f"the axis has no {format_value(parsed)}; it has {listed}{more}")
        return parsed


def _check_values(axes: Axes) -> None:
    problems = []
    for dimension in axes.dimensions:
        rows = dimension_rows(dimension)
        counts = Counter(map(digest, rows))
        row = next((row for row in rows if counts[digest(row)] > 1), None)
        if row is not None:
            problems.append(
                f"sweep.axes.{dimension[0].name}: two values give the same setting "
                f"{format_values(row)}; remove one"
            )
    raise_problems(problems)


def _draw(
    sample: Sample, dimensions: Sequence[Dimension], others: Mapping[str, Sequence[Any]]
) -> list[Values]:
    """Draw the points, the same whatever the order of the axes in the configuration.

    Args:
        dimensions: of the sweep.
        others: style, content or seed -> all their values in order, if they are drawn too.
    """
    if all(axis.values for dimension in dimensions for axis in dimension):
        sizes = [len(dimension_rows(d)) for d in dimensions]
        count = math.prod([*sizes, *map(len, others.values())])
        if sample.n > count:
            raise ConfigError([f"sweep.sample.n: there are only {count} points, not {sample.n}"])
    dimensions = sorted(dimensions, key=lambda d: min(axis.name for axis in d))
    points = unit_points(sample.method, len(dimensions) + len(others), sample.n, sample.seed)
    found: dict[str, Values] = {}
    try:
        for fractions in islice(points, _BLOCKS * max(sample.n, 64)):
            point: Values = {}
            for dimension, fraction in zip(dimensions, fractions, strict=False):
                point.update({axis.name: axis.at(fraction) for axis in dimension})
            rest = fractions[len(dimensions) :]
            for (name, values), fraction in zip(others.items(), rest, strict=True):
                point[name] = values[int(fraction * len(values))]
            # The next point replaces one that was drawn before.
            found.setdefault(digest(point), point)
            if len(found) == sample.n:
                return list(found.values())
    except ValueError as error:  # the setting cannot have a value between the bounds
        raise ConfigError([f"sweep.sample: {error}"]) from None
    raise ConfigError(
        [f"sweep.sample.n: only {len(found)} different points were found, not {sample.n}"]
    )


def _options(where: str, dimension: Dimension, partial: Values) -> list[Values]:
    """The rows of a dimension that an included cell may have."""
    values = {axis.name: partial[axis.name] for axis in dimension if axis.name in partial}
    rows = dimension_rows(dimension)
    if not values and not rows:
        problem = f"{where}: give `{dimension[0].name}`, which has no list of values"
        raise ConfigError([problem])
    if len(values) == len(dimension):
        return [values]
    fitting = [r for r in rows if all(digest(r[n]) == digest(v) for n, v in values.items())]
    if not fitting:
        missing = next(axis.name for axis in dimension if axis.name not in values)
        problem = (
            f"{where}: {_listed(values)} is new; give `{missing}` too, which is zipped with it"
        )
        raise ConfigError([problem])
    return fitting


def _listed(values: Values) -> str:
    return format_values(values, ", ", ": ")
