"""Contents and styles as they stand in a map of ids: a file, several files, or a whole entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from nstcore.config.given import SettingsInput, Strict

Share = Annotated[float, Field(gt=0, allow_inf_nan=False)]

FILES, CONTENT, STYLE = "<files>", "<content>", "<style>"
"""How pydantic calls the alternatives in an error's location; no key can have such a name."""


class ContentEntry(Strict):
    """One content with what is particular to it."""

    path: str = Field(description="The picture.")
    settings: SettingsInput = Field(
        default_factory=SettingsInput, description="Settings that are others for this content."
    )


class StyleEntry(Strict):
    """One style with what is particular to it."""

    path: str | None = Field(None, description="The picture.")
    paths: list[str] | dict[str, Share] | None = Field(
        None, description="In place of `path`: a list of pictures, or a map of them to weights."
    )
    settings: SettingsInput = Field(
        default_factory=SettingsInput, description="Settings that are others for this style."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> StyleEntry:
        if (self.path is None) == (self.paths is None):
            raise ValueError("give either `path`, for one picture, or `paths`, for a blend")
        return self

    @property
    def files(self) -> str | list[str] | dict[str, float]:
        """The picture or pictures."""
        if self.path is not None:
            return self.path
        assert self.paths is not None
        return self.paths


def _content_kind(value: Any) -> str:
    return CONTENT if isinstance(value, (Mapping, ContentEntry)) else FILES


def _style_kind(value: Any) -> str:
    """A map of files has numbers only; whoever writes anything else beside a key means an entry."""
    if isinstance(value, StyleEntry):
        return STYLE
    if not isinstance(value, Mapping):
        return FILES
    plain = not any(isinstance(weight, (str, list, Mapping)) for weight in value.values())
    return FILES if plain and not StyleEntry.model_fields.keys() & value.keys() else STYLE


ContentGiven = Annotated[
    Annotated[str, Tag(FILES)] | Annotated[ContentEntry, Tag(CONTENT)],
    Discriminator(_content_kind),
]

StyleGiven = Annotated[
    Annotated[str | list[str] | dict[str, Share], Tag(FILES)] | Annotated[StyleEntry, Tag(STYLE)],
    Discriminator(_style_kind),
]

ENTRIES: dict[str, type[Strict]] = {CONTENT: ContentEntry, STYLE: StyleEntry}
"""The models behind the alternatives."""
