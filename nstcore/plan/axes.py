"""The points of a sweep: values of its axes, before anything is said about contents and styles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from nstcore.config.run import Config
from nstcore.config.strict import read_setting
from nstcore.config.sweep import LARGEST, Interval, listed_values, takes_integers
from nstcore.core.presets import PRESETS
from nstcore.core.settings import Settings
from nstcore.errors import ConfigError
from nstcore.plan.values import setting_name
from nstcore.store.files import digest

Values = dict[str, Any]
"""Axis -> its value: what the settings understand, or the name of a bundle's value."""


@dataclass(frozen=True)
class Point:
    """One point of the sweep, with one seed.

    Attributes:
        values: axis -> its value here, in the order of the configuration.
        seed: the random seed.
        explicit: the settings that the configuration has for this point, without any default.
        name: the name of the values; see :func:`nstcore.plan.values.setting_name`.
        stem: name of the picture's file without its suffix: ``name``, and the seed where the
            configuration has seeds.
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
        values: none where a sample draws them.
        bundle: value -> the settings that it stands for, for a bundle.
        titles: value -> what it is called where people look, for a bundle.
        interval: between which ends a sample draws.
    """

    name: str
    values: tuple[Any, ...]
    bundle: Mapping[str, Mapping[str, Any]] | None = None
    titles: Mapping[str, str] = field(default_factory=dict)
    interval: Interval | None = None

    def read(self, value: Any) -> Any:
        """A value of this axis as the settings understand it.

        Raises:
            ValueError: if it is none; the message says why.
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


Dimension = tuple[Axis, ...]
"""Axes that advance together; nearly always a single one."""


class Axes:
    """The axes of a sweep and the points that their values make.

    Args:
        config: the checked configuration.
    """

    def __init__(self, config: Config) -> None:
        sweep = config.sweep
        self.fixed = config.settings.explicit
        self.with_seed = "seeds" in sweep.model_fields_set
        self.by_name: dict[str, Axis] = {}
        for name, given in sweep.axes.items():
            raw = listed_values(name, given)
            if isinstance(given, dict):
                bundle = {value: inner.explicit for value, inner in given.items()}
                titles = {value: inner.title for value, inner in given.items() if inner.title}
                self.by_name[name] = Axis(name, tuple(raw), bundle, titles)
            else:
                read = Axis(name, ()).read
                interval = given if isinstance(given, Interval) else None
                self.by_name[name] = Axis(name, tuple(map(read, raw)), None, {}, interval)
        self.dimensions: list[Dimension] = []
        together = {name: names for names in sweep.zip for name in names}
        done: set[str] = set()
        for name in self.by_name:
            if name not in done:
                names = [n for n in self.by_name if n in together.get(name, [name])]
                done |= set(names)
                self.dimensions.append(tuple(self.by_name[n] for n in names))

    def product(self, dimensions: Sequence[Sequence[Values]]) -> Iterator[Values]:
        """Every combination of the rows of all dimensions, the last dimension fastest.

        Raises:
            ConfigError: if there are far too many.
        """
        count = math.prod(len(rows) for rows in dimensions)
        if count > LARGEST:
            raise ConfigError(
                [
                    f"sweep.axes: has {count:,} points; at most {LARGEST:,} are possible, of which "
                    "`sweep.sample` draws some"
                ]
            )
        for parts in itertools.product(*dimensions):
            merged = {name: value for part in parts for name, value in part.items()}
            yield {name: merged[name] for name in self.by_name}

    def point(self, values: Values, seed: int) -> Point:
        """The point with some values, in the order of the axes, and a seed."""
        given = dict(self.fixed)
        for name, value in values.items():
            bundle = self.by_name[name].bundle
            given.update({name: value} if bundle is None else bundle[value])
        canonical = dict(values)
        if isinstance(values.get("weights"), dict):
            canonical["weights"] = values["weights"].get(base_setting(given, "encoder"))
        name = setting_name(canonical)
        return Point(
            canonical, seed, given, name, f"{name},seed={seed}" if self.with_seed else name
        )


def rows_of(dimension: Dimension) -> list[Values]:
    """The values that the axes of a dimension have together, in order."""
    names = [axis.name for axis in dimension]
    rows = zip(*(axis.values for axis in dimension), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


def repeated(rows: Sequence[Values]) -> Values | None:
    """Values that stand twice in a dimension."""
    seen: set[str] = set()
    for row in rows:
        key = digest(row)
        if key in seen:
            return row
        seen.add(key)
    return None


def base_setting(given: Mapping[str, Any], name: str) -> Any:
    """One setting of those that were given, with its preset and its default."""
    if name in given:
        return given[name]
    preset = PRESETS.get(given.get("preset", ""), {})
    return preset.get(name, Settings.model_fields[name].default)


def drawn_value(axis: Axis, share: float) -> Any:
    """The value of an axis at a share in [0, 1) of it: of a list by index, of a bundle by name."""
    if axis.values:
        values = axis.values if axis.bundle is None else sorted(axis.values)
        return values[int(share * len(values))]
    assert axis.interval is not None
    return axis.read(axis.interval.at(share, integer=takes_integers(axis.name)))
