"""What a user writes: parts of the configuration, and settings of which most are left out."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
)

from nstcore.core.settings import PRESETS, SettingsFields

ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""What ids of contents, styles and runs look like: they become names of files and folders."""

Id = Annotated[str, StringConstraints(pattern=f"^{ID_PATTERN}$", max_length=100)]

Folder = Annotated[str, StringConstraints(pattern=r"^[^{}]+$")]
"""Braces would be taken for wildcards."""


class StrictModel(BaseModel):
    """A part of the configuration in which a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def _check_preset(name: str) -> str:
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; the presets are {', '.join(sorted(PRESETS))}")
    return name


class SettingsSpec(SettingsFields):
    """Settings as a user writes them: all optional, with a preset as their base.

    They need not be consistent by themselves: a preset or an axis may bring what is missing.
    """

    preset: Annotated[str, AfterValidator(_check_preset)] | None = Field(
        None,
        description=f"Named base for all settings not given here: {', '.join(sorted(PRESETS))}.",
    )

    @property
    def explicit(self) -> dict[str, Any]:
        """The settings that the user wrote, without any default."""
        return self.model_dump(include=self.model_fields_set)


@cache
def _setting_type(name: str) -> TypeAdapter[Any]:
    field = SettingsSpec.model_fields[name]
    annotation: Any = Annotated[field.annotation, field]
    return TypeAdapter(annotation)


def read_setting(name: str, value: Any) -> Any:
    """One value of a setting as the settings hold it: 10 becomes 10.0 where it is a weight.

    Raises:
        ValidationError: if the setting cannot have this value.
    """
    return _setting_type(name).validate_python(value)
