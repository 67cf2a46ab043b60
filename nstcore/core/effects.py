"""What follows from the value of a setting, declared at its field in :mod:`nstcore.core.settings`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

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
