"""The points of a sweep: the values of its axes, all of them or a sample, without contents and styles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from pydantic import ValidationError

from nstcore.config.run import Config
from nstcore.config.strict import read_setting
from nstcore.config.sweep import LARGEST, Interval, listed_values, takes_integers
from nstcore.core.settings import PRESETS, Settings
from nstcore.errors import ConfigError
from nstcore.plan.values import setting_name
from nstcore.store.files import digest

Values = dict[str, Any]
"""Axis -> its value: one of the setting, or the name of a bundle's value."""


@dataclass(frozen=True)
class Point:
    """One point of the sweep, with one seed.

    Attributes:
        values: axis -> its value here, in the order of the configuration.
        explicit: the settings that the configuration has for this point, without any default.
        name: the name of the values; see :func:`nstcore.plan.values.setting_name`.
        stem: name of the image's file without its suffix: ``name``, and the seed if the configuration
            has seeds.
    """

    values: Values
    seed: int
    explicit: dict[str, Any]
    name: str
    stem: str


@dataclass(frozen=True)
class Axis:
    """One axis of the sweep.

    Attributes:
        name: a setting, or the name of a bundle.
        values: none if the axis is continuous.
        bundle: value -> the settings that it stands for, for a bundle.
        titles: value -> what people see in its place, for a bundle.
        interval: the bounds between which a sample draws.
    """

    name: str
    values: tuple[Any, ...]
    bundle: Mapping[str, Mapping[str, Any]] | None = None
    titles: Mapping[str, str] = field(default_factory=dict)
    interval: Interval | None = None

    @cached_property
    def digests(self) -> frozenset[str]:
        """Digests of the values."""
        return frozenset(map(digest, self.values))

    def parse(self, value: Any) -> Any:
        """A value of this axis as the settings hold it.

        Raises:
            ValueError: if the axis cannot have this value; the message says why.
        """
        if self.bundle is not None:
            if value not in self.bundle:
                raise ValueError(f"{value!r} is none of {', '.join(self.bundle)}")
            return value
        try:
            return read_setting(self.name, value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ValueError(f"{reason[:1].lower()}{reason[1:]}, not {value!r}") from None

    def at(self, fraction: float) -> Any:
        """The value at a fraction in [0, 1) of the axis."""
        if self.values:
            values = self.values if self.bundle is None else sorted(self.values)
            return values[int(fraction * len(values))]
        assert self.interval is not None
        return self.parse(self.interval.at(fraction, integer=takes_integers(self.name)))


Dimension = tuple[Axis, ...]
"""Axes that advance together; nearly always a single one."""


class Axes:
    """The axes of a sweep and the points that their values make."""

    def __init__(self, config: Config) -> None:
        sweep = config.sweep
        self.fixed = config.settings.explicit
        self.with_seed = "seeds" in sweep.model_fields_set
        self.by_name: dict[str, Axis] = {}
        for name, spec in sweep.axes.items():
            values = listed_values(name, spec)
            if isinstance(spec, dict):
                bundle = {value: inner.explicit for value, inner in spec.items()}
                titles = {value: inner.title for value, inner in spec.items() if inner.title}
                self.by_name[name] = Axis(name, tuple(values), bundle, titles)
            else:
                interval = spec if isinstance(spec, Interval) else None
                parsed = tuple(map(Axis(name, ()).parse, values))
                self.by_name[name] = Axis(name, parsed, interval=interval)
        self.dimensions: list[Dimension] = []
        zipped = {name: names for names in sweep.zip for name in names}
        done: set[str] = set()
        for name in self.by_name:
            if name not in done:
                names = [n for n in self.by_name if n in zipped.get(name, [name])]
                done |= set(names)
                self.dimensions.append(tuple(self.by_name[n] for n in names))

    def product(self, dimensions: Sequence[Sequence[Values]]) -> Iterator[Values]:
        """Every combination of the rows of all dimensions, the last dimension fastest.

        Raises:
            ConfigError: if there are too many.
        """
        count = math.prod(len(rows) for rows in dimensions)
        if count > LARGEST:
            problem = f"sweep.axes: has {count:,} points; at most {LARGEST:,} are possible; "
            raise ConfigError([problem + "let `sweep.sample` draw some of them"])
        for parts in itertools.product(*dimensions):
            merged = {name: value for part in parts for name, value in part.items()}
            yield {name: merged[name] for name in self.by_name}

    def point(self, values: Values, seed: int) -> Point:
        """The point with some values, in the order of the axes, and a seed."""
        explicit = dict(self.fixed)
        for name, value in values.items():
            bundle = self.by_name[name].bundle
            explicit.update({name: value} if bundle is None else bundle[value])
        canonical = dict(values)
        if isinstance(values.get("weights"), dict):
            canonical["weights"] = values["weights"].get(base_setting(explicit, "encoder"))
        name = setting_name(canonical)
        stem = f"{name},seed={seed}" if self.with_seed else name
        return Point(canonical, seed, explicit, name, stem)


def dimension_rows(dimension: Dimension) -> list[Values]:
    """The values that the axes of a dimension have together, in order."""
    names = [axis.name for axis in dimension]
    rows = zip(*(axis.values for axis in dimension), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


def base_setting(explicit: Mapping[str, Any], name: str) -> Any:
    """One setting: the explicit value, or that of the preset, or the default."""
    if name in explicit:
        return explicit[name]
    preset = PRESETS.get(explicit.get("preset", ""), {})
    return preset.get(name, Settings.model_fields[name].default)


def unit_points(
    method: Literal["lhs", "sobol", "random"], dimensions: int, n: int, seed: int
) -> Iterator[Sequence[float]]:
    """Points of a sample in the unit cube, without end.

    The first ``n`` are those of the method for ``n`` points; further blocks of the same size follow.
    With `sobol` and `random` a larger ``n`` begins with the points of a smaller one.

    Args:
        method: see :class:`nstcore.config.sweep.Sample`.
    """
    import numpy as np
    from scipy.stats import qmc

    random = np.random.default_rng(seed)
    if method == "random":
        while True:
            yield random.random(dimensions).tolist()
    kind = qmc.LatinHypercube if method == "lhs" else qmc.Sobol
    try:
        engine = kind(dimensions, rng=random)
    except TypeError:  # before SciPy 1.15
        engine = kind(dimensions, seed=random)
    # Sobol' points fill the cube evenly if their number is a power of two.
    block = n if method == "lhs" else 1 << (n - 1).bit_length()
    while True:
        yield from engine.random(block).tolist()
