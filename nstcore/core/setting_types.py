"""What the fields of :mod:`nstcore.core.settings` are declared with: types of values, and effects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticKnownError

from nstcore.core.encoders import ENCODERS
from nstcore.core.losses import STYLE_LOSSES
from nstcore.core.optimizers import OPTIMIZERS


def _layer_weights(value: Any) -> Any:
    """A list of names means equal weights; a single name is a list of one."""
    if isinstance(value, str):
        value = [value]
    return dict.fromkeys(value, 1.0) if isinstance(value, (list, tuple)) else value


def _check_layers(value: dict[str, float]) -> dict[str, float]:
    known = dict.fromkeys(name for spec in ENCODERS.values() for name in spec.names)
    for name in value:
        if name not in known:
            raise ValueError(f"unknown layer {name!r}; the layers are {', '.join(known)}")
    if not any(weight > 0 for weight in value.values()):
        raise ValueError("give at least one layer with a weight above 0")
    return {name: value[name] for name in known if name in value}


def _check_iterations(value: int | list[int]) -> int | list[int]:
    numbers = value if isinstance(value, list) else [value]
    if not numbers or any(number < 1 for number in numbers):
        raise ValueError("every level needs at least 1 iteration, for example 200")
    return value


Layers = Annotated[
    dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]],
    BeforeValidator(_layer_weights),
    AfterValidator(_check_layers),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}},
                {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}},
            ]
        }
    ),
]
"""Layer -> weight; one name or a list of names, all with the weight 1, mean the same."""
Iterations = Annotated[int | list[int], AfterValidator(_check_iterations)]


def _check_name(table: Mapping[str, object]) -> BeforeValidator:
    """A check that a name is in a table, with the error message of ``Literal``."""

    def check(name: Any) -> Any:
        if not isinstance(name, str) or name not in table:
            raise PydanticKnownError("literal_error", {"expected": " or ".join(map(repr, table))})
        return name

    return BeforeValidator(check)


def _names(table: Mapping[str, object]) -> WithJsonSchema:
    return WithJsonSchema({"enum": [*table], "type": "string"})


EncoderName = Annotated[str, _check_name(ENCODERS), _names(ENCODERS)]
StatisticName = Annotated[str, _check_name(STYLE_LOSSES), _names(STYLE_LOSSES)]
OptimizerName = Annotated[str, _check_name(OPTIMIZERS), _names(OPTIMIZERS)]
Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Region = Annotated[
    str,
    StringConstraints(pattern=r"^(#[0-9a-fA-F]{6}|[A-Za-z0-9][A-Za-z0-9._-]*)$", max_length=100),
    AfterValidator(lambda name: name.lower() if name.startswith("#") else name),
]
"""Name of a region: the colour that it has in a guide, or a name of one's own."""


# --- What follows from the value of a setting. ---

Of = Callable[[Any], Any]
"""A function of the complete settings."""


@dataclass(frozen=True)
class Effects:
    """What follows from the value of a setting.

    Attributes:
        key: what enters the key of a cell: its value (True), a function of all settings, or nothing
            (False), because what it leads to is in the key by itself.
        later: whether cells had been finished before the setting existed; its default is in no key.
        used: whether the other settings let it have an effect; what has none is in no key.
        batch: whether the images of a batch must have the ``same`` value, have a value ``per_image``,
            or no longer depend on it once their tasks are ``prepared``.
        target: whether the statistics of a style depend on it.
        time: what the time of an iteration depends on: its value (True), a function, or nothing.
    """

    key: bool | Of = True
    later: bool = False
    used: Of = lambda settings: True
    batch: Literal["same", "per_image", "prepared"] = "same"
    target: bool = False
    time: bool | Of = False

    def __call__(self, schema: dict[str, Any]) -> None:
        """As ``json_schema_extra``: nothing to add to the schema."""


DEFAULT = Effects()


def setting(default: Any, description: str, effects: Effects = DEFAULT, **limits: Any) -> Any:
    """Declare a field of the settings: its default, meaning, effects and limits as for ``Field``."""
    return Field(default, description=description, json_schema_extra=effects, **limits)


def effects_of(model: type[BaseModel]) -> dict[str, Effects]:
    """Effects of every field.

    Raises:
        TypeError: if a field was not declared by :func:`setting`.
    """
    found = {}
    for name, field in model.model_fields.items():
        if not isinstance(field.json_schema_extra, Effects):
            raise TypeError(f"{model.__name__}.{name}: declare it with setting(...)")
        found[name] = field.json_schema_extra
    return found
