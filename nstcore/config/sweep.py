"""The sweep as a user writes it: axes with their values, and which points of their product to make.

Values of ranges are computed with decimal arithmetic, so that 0.1, 0.2, 0.3 are what they look like
and both ends of a range are met exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

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
"""Names that a bundle cannot have, because columns of a run's tables have them."""

VALUES, RANGE, LOG, UNIFORM, BUNDLE = "<values>", "<range>", "<log>", "<uniform>", "<bundle>"
"""Tags of the types of axes in the location of pydantic's errors; no key can have such a name."""

Seed = Annotated[int, Field(ge=0, lt=2**53)]
"""An integer that tables and JSON hold exactly."""
Bounds = Annotated[
    list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=2, max_length=2)
]
Count = Annotated[int, Field(ge=2, le=LARGEST)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9._-]*$", max_length=48)]
"""Begins with a letter, so that no table takes it for a number."""

_EXACT = Context(prec=60)
_MAX_DIGITS, _ROUNDED_DIGITS, _SAMPLED_DIGITS = 12, 6, 4


class Interval(StrictModel):
    """An axis between two bounds."""

    _kind: ClassVar[str]
    """The key that has the bounds."""

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        low, high = self.bounds
        if low >= high:
            raise ValueError(
                f"the first value, {_number(low)}, must be below the last, {_number(high)}"
            )
        return self

    @property
    def bounds(self) -> tuple[Decimal, Decimal]:
        """The first and the last value."""
        low, high = map(_decimal, getattr(self, self._kind))
        return low, high

    @property
    def count(self) -> int | None:
        """How many values it has; None if it is continuous, so that a sample has to draw them."""
        return getattr(self, "num", None)

    def values(self, *, integer: bool = False) -> list[int | float]:
        """The values, both bounds among them; those that need many digits are rounded to six.

        Args:
            integer: whether they are rounded to integers, as a setting may need it.
        """
        if self.count is None:
            return []
        (low, high), inner = self.bounds, map(self._value, range(1, self.count - 1))
        return [_number(value, integer) for value in (low, *inner, high)]

    def at(self, fraction: float, *, integer: bool = False) -> int | float:
        """A value for a sample, rounded to four digits.

        Args:
            fraction: in [0, 1), from the first bound to the last.
            integer: whether it is rounded to an integer.
        """
        low, high = self.bounds
        value = Context(prec=_SAMPLED_DIGITS).plus(self._between(Decimal(repr(fraction))))
        return _number(min(max(value, low), high), integer)

    def _between(self, fraction: Decimal) -> Decimal:
        low, high = self.bounds
        return _EXACT.add(low, _EXACT.multiply(_EXACT.subtract(high, low), fraction))

    def _value(self, index: int) -> Decimal:
        assert self.count is not None
        exact = self._between(_EXACT.divide(Decimal(index), Decimal(self.count - 1)))
        # The value that a person could have written: the first six digits of one that has many.
        written = Context(prec=30).plus(exact).normalize()
        few = len(written.as_tuple().digits) <= _MAX_DIGITS
        return written if few else Context(prec=_ROUNDED_DIGITS).plus(exact)


class Range(Interval):
    """Values at equal distances."""

    _kind = "range"
    range: Bounds = Field(description="First and last value.")
    step: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        None, description="Distance of two values."
    )
    num: Count | None = Field(None, description="In place of `step`: how many values.")

    @model_validator(mode="after")
    def _step_fits(self) -> Self:
        if self.step is None:
            return self
        if self.num is not None:
            raise ValueError("give `step` or `num`, not both")
        (low, high), step = self.bounds, _decimal(self.step)
        if step <= 0:
            raise ValueError("`step` must be above 0")
        count = self.count or 0
        if count > LARGEST:
            raise ValueError(f"gives {count:,} values; at most {LARGEST:,} are possible")
        last = self._value(count - 1)
        if last != high:
            beyond = _EXACT.add(last, step)
            start, by, end, near, far = map(_number, (low, step, high, last, beyond))
            raise ValueError(
                f"steps of {by} from {start} do not meet {end}; let it end at {near} or at {far}"
            )
        return self

    @property
    def count(self) -> int | None:
        """How many values `num` or `step` gives."""
        if self.step is None:
            return self.num
        low, high = self.bounds
        return 1 + int(_EXACT.divide_int(_EXACT.subtract(high, low), _decimal(self.step)))

    def _value(self, index: int) -> Decimal:
        if self.step is None:
            return super()._value(index)
        return _EXACT.add(self.bounds[0], _EXACT.multiply(_decimal(self.step), Decimal(index)))


class Log(Interval):
    """Values each of which is the same multiple of the one before."""

    _kind = "log"
    log: Bounds = Field(description="First and last value, above 0.")
    num: Count | None = Field(None, description="How many values.")

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if self.bounds[0] <= 0:
            raise ValueError("`log` needs bounds above 0")
        return self

    def _between(self, fraction: Decimal) -> Decimal:
        low, high = self.bounds
        ratio = _EXACT.ln(_EXACT.divide(high, low))
        return _EXACT.multiply(low, _EXACT.exp(_EXACT.multiply(ratio, fraction)))


class Uniform(Interval):
    """Bounds between which a sample draws."""

    _kind = "uniform"
    uniform: Bounds = Field(description="Smallest and largest value.")


class BundleValue(SettingsSpec):
    """Several settings under one name."""

    title: str | None = Field(
        None, min_length=1, description="Its name on sheets and in the report."
    )

    @property
    def explicit(self) -> dict[str, Any]:
        """The settings that the user wrote, without the title."""
        return self.model_dump(include=self.model_fields_set - {"title"})


Bundle = Annotated[dict[Name, BundleValue], Field(min_length=1)]

INTERVALS: dict[str, type[Interval]] = {RANGE: Range, LOG: Log, UNIFORM: Uniform}
"""Tag -> model."""


def axis_type(spec: Any) -> str:
    """The tag of the type that an axis is meant to have."""
    if isinstance(spec, Mapping):
        for tag in INTERVALS:
            if tag.strip("<>") in spec:
                return tag
        # No key of an interval has a map.
        maps = [isinstance(inner, (Mapping, BundleValue)) for inner in spec.values()]
        return BUNDLE if any(maps) or not maps else RANGE
    return next((tag for tag, model in INTERVALS.items() if isinstance(spec, model)), VALUES)


AxisSpec = Annotated[
    Annotated[Annotated[list[Any], Field(min_length=1)], Tag(VALUES)]
    | Annotated[Range, Tag(RANGE)]
    | Annotated[Log, Tag(LOG)]
    | Annotated[Uniform, Tag(UNIFORM)]
    | Annotated[Bundle, Tag(BUNDLE)],
    Discriminator(axis_type),
]

PartialCell = Annotated[dict[str, Any], Field(min_length=1)]
"""Values of some axes."""


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
        description="Axes that are drawn, `style`, `content` and `seed` if you like; all others keep all "
        "of their values. Empty: the axes of `sweep.axes`.",
    )
    points: list[PartialCell] | None = Field(
        None,
        description="The points themselves; nothing is drawn then. The frozen configuration of a run has "
        "them.",
    )


Condition = Annotated[str, Field(min_length=1, max_length=2000)]
"""For a ``FilterExpression``."""


class Sweep(StrictModel):
    """The grid beside contents and styles."""

    axes: dict[str, AxisSpec] = Field(
        {},
        description="Setting -> its values; the grid is the product of all axes. Values are a list, "
        "`{range: [a, b], step: s}`, `{range: [a, b], num: n}` or `{log: [a, b], num: n}`. `preset` "
        "can be an axis too. Another name with a map of names to settings is a bundle.",
    )
    zip: list[Annotated[list[str], Field(min_length=2)]] = Field(
        [],
        description="Lists of axes that advance together and have equally many values; they cannot "
        "contain a bundle.",
    )
    exclude: list[PartialCell] = Field(
        [],
        description="Cells to leave out, each by the values of some axes; `style`, `content` and `seed` "
        "are axes too.",
    )
    where: Condition | None = Field(
        None,
        description="A condition that every cell of the product must meet: comparisons of axes and "
        "settings, with `and`, `or`, `not`, `in`, + - * / and parentheses: "
        '`"style_weight <= 500 or size < 512"`.',
    )
    include: list[PartialCell] = Field(
        [],
        description="Cells to add, each by the values of some axes, which may be new; they have every "
        "value of the other axes.",
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
        for axis, spec in self.axes.items():
            names = {axis: None}
            if isinstance(spec, dict):
                names = dict.fromkeys(n for value in spec.values() for n in value.explicit)
            for name in names:
                found.setdefault(name, []).append(axis)
        return found


def listed_values(axis: str, spec: list[Any] | Interval | dict[str, BundleValue]) -> list[Any]:
    """The values of an axis as the user wrote them: names for a bundle, none if it is continuous."""
    if isinstance(spec, (list, dict)):
        return list(spec)
    return list(spec.values(integer=takes_integers(axis)))


def takes_integers(setting: str) -> bool:
    """Whether the numbers of a setting are integers."""
    field = Settings.model_fields.get(setting)
    kinds = (field.annotation, *get_args(field.annotation)) if field else ()
    return int in kinds and float not in kinds


def _decimal(number: float) -> Decimal:
    """The number that a person wrote."""
    return Decimal(repr(number))


def _number(value: Decimal, integer: bool = False) -> int | float:
    if integer or value == value.to_integral_value():
        return int(value.to_integral_value())
    return float(value)
