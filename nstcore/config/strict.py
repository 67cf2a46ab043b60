"""What a user writes: parts of the configuration, and settings of which most are left out."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
)

from nstcore.core.presets import PRESETS
from nstcore.core.settings import SettingsFields

ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""What ids of contents, styles and runs look like: they become names of files and folders."""

Id = Annotated[str, StringConstraints(pattern=f"^{ID_PATTERN}$", max_length=100)]

Folder = Annotated[str, StringConstraints(pattern=r"^[^{}]+$")]
"""Braces would be taken for wildcards."""


class StrictModel(BaseModel):
    """A part of the configuration in which a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class SettingsSpec(SettingsFields):
    """Settings as a user writes them: all optional, and a preset as their base."""

    preset: str | None = Field(
        None,
        description="Named base for all settings not given here: "
        + ", ".join(sorted(PRESETS))
        + ".",
    )

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, value: str | None) -> str | None:
        if value is not None and value not in PRESETS:
            raise ValueError(
                f"there is no preset {value!r}; there are: {', '.join(sorted(PRESETS))}"
            )
        return value

    @property
    def given(self) -> dict[str, Any]:
        """The settings that are stated, without any default."""
        return self.model_dump(include=self.model_fields_set)
