"""The sweep as a user writes it: axes with their values, and which points of their product count.

Values of ranges are computed with decimal arithmetic, so that 0.1, 0.2, 0.3 are what they look like
and both ends of a range are met exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Annotated, Any, Literal, get_args

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from nstcore.config.strict import SettingsSpec, StrictModel
from nstcore.core.metrics import METRICS
from nstcore.core.settings import Settings

LARGEST = 1_000_000
"""The most values of an axis, and the most points of a grid before it is filtered."""

RESERVED = frozenset(
    (
        *("run", "style", "content", "setting", "seed", "key", "batch", "image", "title"),
        *("status", "reason", *METRICS, "width", "height"),
    )
)
"""What a bundle cannot be called: the columns of a run's tables have these names."""

VALUES, RANGE, LOG, UNIFORM, BUNDLE = "<values>", "<range>", "<log>", "<uniform>", "<bundle>"
"""How pydantic calls the kinds of axes in an error's location; no key can have such a name."""

Seed = Annotated[int, Field(ge=0, lt=2**53)]
"""A whole number that tables and JSON hold exactly."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
Ends = Annotated[list[Finite], Field(min_length=2, max_length=2)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9._-]*$", max_length=48)]
"""Begins with a letter, so that no table takes it for a number."""

_EXACT = Context(prec=60)
_LONGEST, _ROUNDED, _DRAWN = 12, 6, 4


class _Interval(StrictModel):
    """Two ends, with values between them."""

    @property
    def ends(self) -> tuple[Decimal, Decimal]:
        """The first and the last value."""
        raise NotImplementedError

    @property
    def drawn(self) -> bool:
        """Whether there are no values but those of a sample."""
        raise NotImplementedError

    def values(self, *, whole: bool = False) -> list[int | float]:
        """The values, of which there are none where a sample draws them.

        Args:
            whole: whether they are rounded to whole numbers, as a setting may need it.
        """
        raise NotImplementedError

    def at(self, share: float, *, whole: bool = False) -> int | float:
        """A value for a sample, rounded to four digits.

        Args:
            share: in [0, 1), from the first end to the last.
            whole: whether it is rounded to a whole number.
        """
        low, high = self.ends
        value = Context(prec=_DRAWN).plus(self._between(Decimal(repr(share))))
        return _plain(min(max(value, low), high), whole)

    def _between(self, share: Decimal) -> Decimal:
        low, high = self.ends
        return _EXACT.add(low, _EXACT.multiply(_EXACT.subtract(high, low), share))

    def _spread(self, count: int, whole: bool) -> list[int | float]:
        """``count`` values from end to end; those that need many digits are rounded to six."""
        inner = [
            _tidy(self._between(_EXACT.divide(Decimal(n), Decimal(count - 1))))
            for n in range(1, count - 1)
        ]
        return [_plain(value, whole) for value in (self.ends[0], *inner, self.ends[1])]


class Range(_Interval):
    """Values at equal distances."""

    range: Ends = Field(description="First and last value.")
    step: Finite | None = Field(None, description="Distance of two values.")
    num: Annotated[int, Field(ge=2, le=LARGEST)] | None = Field(
        None, description="In place of `step`: how many values."
    )

    @model_validator(mode="after")
    def _possible(self) -> Range:
        low, high = _ascending(self.range)
        if self.step is not None and self.num is not None:
            raise ValueError("give `step` or `num`, not both")
        if self.step is not None:
            step = _decimal(self.step)
            if step <= 0:
                raise ValueError("`step` has to be above 0")
            steps = int(_EXACT.divide_int(_EXACT.subtract(high, low), step))
            if steps >= LARGEST:
                raise ValueError(f"gives {steps + 1:,} values; at most {LARGEST:,} are possible")
            last = _EXACT.add(low, _EXACT.multiply(step, Decimal(steps)))
            if last != high:
                beyond = _EXACT.add(last, step)
                start, by, end, near, far = map(_plain, (low, step, high, last, beyond))
                raise ValueError(
                    f"steps of {by} from {start} do not meet {end}; let it end at {near} or at {far}"
                )
        return self

    @property
    def ends(self) -> tuple[Decimal, Decimal]:
        """The first and the last value."""
        return _decimal(self.range[0]), _decimal(self.range[1])

    @property
    def drawn(self) -> bool:
        """Whether there are no values but those of a sample."""
        return self.step is None and self.num is None

    def values(self, *, whole: bool = False) -> list[int | float]:
        """The values; none without `step` and `num`."""
        if self.num is not None:
            return self._spread(self.num, whole)
        if self.step is None:
            return []
        (low, high), step = self.ends, _decimal(self.step)
        steps = int(_EXACT.divide_int(_EXACT.subtract(high, low), step))
        return [
            _plain(_EXACT.add(low, _EXACT.multiply(step, Decimal(n))), whole)
            for n in range(steps + 1)
        ]


class Log(_Interval):
    """Values each of which is the same multiple of the one before."""

    log: Ends = Field(description="First and last value, above 0.")
    num: Annotated[int, Field(ge=2, le=LARGEST)] | None = Field(
        None, description="How many values."
    )

    @model_validator(mode="after")
    def _possible(self) -> Log:
        low, _ = _ascending(self.log)
        if low <= 0:
            raise ValueError("`log` needs ends above 0")
        return self

    @property
    def ends(self) -> tuple[Decimal, Decimal]:
        """The first and the last value."""
        return _decimal(self.log[0]), _decimal(self.log[1])

    @property
    def drawn(self) -> bool:
        """Whether there are no values but those of a sample."""
        return self.num is None

    def values(self, *, whole: bool = False) -> list[int | float]:
        """The values; none without `num`."""
        return [] if self.num is None else self._spread(self.num, whole)

    def _between(self, share: Decimal) -> Decimal:
        low, high = self.ends
        ratio = _EXACT.ln(_EXACT.divide(high, low))
        return _EXACT.multiply(low, _EXACT.exp(_EXACT.multiply(ratio, share)))


class Uniform(_Interval):
    """Ends between which a sample draws."""

    uniform: Ends = Field(description="Smallest and largest value.")

    @model_validator(mode="after")
    def _possible(self) -> Uniform:
        _ascending(self.uniform)
        return self

    @property
    def ends(self) -> tuple[Decimal, Decimal]:
        """The first and the last value."""
        return _decimal(self.uniform[0]), _decimal(self.uniform[1])

    @property
    def drawn(self) -> bool:
        """Always: there are no values but those of a sample."""
        return True

    def values(self, *, whole: bool = False) -> list[int | float]:
        """None."""
        return []


class BundleValue(SettingsSpec):
    """Several settings under one name."""

    title: str | None = Field(None, min_length=1, description="What sheets and report call it.")

    @property
    def explicit(self) -> dict[str, Any]:
        """The settings that the user wrote, without the title."""
        return self.model_dump(include=self.model_fields_set - {"title"})


Interval = Range | Log | Uniform
Bundle = Annotated[dict[Name, BundleValue], Field(min_length=1)]


def axis_kind(value: Any) -> str:
    """Which kind of axis a value is meant to be."""
    if isinstance(value, Mapping):
        for key, kind in (("range", RANGE), ("log", LOG), ("uniform", UNIFORM)):
            if key in value:
                return kind
        # What an interval says is never a map.
        maps = [isinstance(inner, (Mapping, BundleValue)) for inner in value.values()]
        return BUNDLE if any(maps) or not maps else RANGE
    for model, kind in ((Range, RANGE), (Log, LOG), (Uniform, UNIFORM)):
        if isinstance(value, model):
            return kind
    return VALUES


AxisSpec = Annotated[
    Annotated[Annotated[list[Any], Field(min_length=1)], Tag(VALUES)]
    | Annotated[Range, Tag(RANGE)]
    | Annotated[Log, Tag(LOG)]
    | Annotated[Uniform, Tag(UNIFORM)]
    | Annotated[Bundle, Tag(BUNDLE)],
    Discriminator(axis_kind),
]

KINDS: dict[str, type[StrictModel]] = {RANGE: Range, LOG: Log, UNIFORM: Uniform}
"""The models behind the kinds."""

Partial = Annotated[dict[str, Any], Field(min_length=1)]


class Sample(StrictModel):
    """Points drawn from the grid in place of all of them."""

    method: Literal["lhs", "sobol", "random"] = Field(
        description="`lhs`: a Latin hypercube; `sobol`: a scrambled Sobol' sequence; `random`: "
        "independent points."
    )
    n: int = Field(ge=1, le=LARGEST, description="How many different points.")
    seed: int = Field(0, ge=0, lt=2**53, description="Another seed draws other points.")
    axes: Annotated[list[str], Field(min_length=1)] | None = Field(
        None,
        description="Axes that are drawn, which may be `style`, `content` and `seed` too; all others "
        "keep all of their values. Empty: the axes of `sweep.axes`.",
    )
    points: list[Partial] | None = Field(
        None,
        description="The points themselves, so that none are drawn; a run's frozen configuration has "
        "them.",
    )


class Sweep(StrictModel):
    """The grid beside contents and styles."""

    axes: dict[str, AxisSpec] = Field(
        {},
        description="Setting -> its values; the grid is the product of all axes. Values are a list, "
        "`{range: [a, b], step: s}`, `{range: [a, b], num: n}` or `{log: [a, b], num: n}`. `preset` "
        "may be an axis too. Another name with a map of names to settings is a bundle.",
    )
    zip: list[Annotated[list[str], Field(min_length=2)]] = Field(
        [],
        description="Lists of axes that advance together and have equally many values; a bundle cannot "
        "be among them.",
    )
    exclude: list[Partial] = Field(
        [],
        description="Cells to leave out, each by the values of some axes; `style`, `content` and `seed` "
        "are axes too.",
    )
    where: Annotated[str, Field(min_length=1, max_length=2000)] | None = Field(
        None,
        description="What holds for every cell of the product: comparisons of axes and settings, with "
        '`and`, `or`, `not`, `in`, + - * / and parentheses: `"style_weight <= 500 or size < 512"`.',
    )
    include: list[Partial] = Field(
        [],
        description="Cells to add, each by the values of some axes, new ones too; they have every value "
        "of the other axes.",
    )
    sample: Sample | None = Field(
        None, description="Points drawn from the axes in place of their product."
    )
    seeds: Annotated[int, Field(ge=1)] | Annotated[list[Seed], Field(min_length=1)] = Field(
        1,
        description="How many repetitions with different random seeds, or the seeds themselves.",
    )

    @property
    def seed_list(self) -> list[int]:
        """The seeds themselves."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds)

    def setters(self) -> dict[str, list[str]]:
        """Setting -> the axes that set it."""
        found: dict[str, list[str]] = {}
        for axis, given in self.axes.items():
            names = (
                dict.fromkeys(name for value in given.values() for name in value.explicit)
                if isinstance(given, dict)
                else [axis]
            )
            for name in names:
                found.setdefault(name, []).append(axis)
        return found


def values_of(axis: str, given: list[Any] | Interval | dict[str, BundleValue]) -> list[Any]:
    """The values of an axis as they were given: names for a bundle, none where they are drawn."""
    if isinstance(given, (list, dict)):
        return list(given)
    return list(given.values(whole=is_whole(axis)))


def is_whole(setting: str) -> bool:
    """Whether a setting takes whole numbers only."""
    field = Settings.model_fields.get(setting)
    kinds = (field.annotation, *get_args(field.annotation)) if field else ()
    return int in kinds and float not in kinds


def _decimal(number: float) -> Decimal:
    """The number that a person wrote."""
    return Decimal(repr(number))


def _ascending(ends: list[float]) -> tuple[Decimal, Decimal]:
    low, high = map(_decimal, ends)
    if low >= high:
        raise ValueError(
            f"the first value, {_plain(low)}, has to be below the last, {_plain(high)}"
        )
    return low, high


def _tidy(value: Decimal) -> Decimal:
    """A value that a person could have written: of one with many digits the first six."""
    exact = Context(prec=30).plus(value).normalize()
    return exact if len(exact.as_tuple().digits) <= _LONGEST else Context(prec=_ROUNDED).plus(value)


def _plain(value: Decimal, whole: bool = False) -> int | float:
    if whole or value == value.to_integral_value():
        return int(value.to_integral_value())
    return float(value)
