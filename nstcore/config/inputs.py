"""Contents and styles as a map of ids has them: a file, several files, or an entry with keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, model_validator

from nstcore.config.strict import SettingsSpec, StrictModel
from nstcore.core.setting_types import Region

Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]

Guide = str | Annotated[dict[Region, str], Field(min_length=1)]
"""An image in flat colors, or a greyscale image for each region."""

_GUIDE = (
    "Regions: an image in flat colors, one for each region, whose name is its color; or a map of names "
    "to greyscale images, white where the region is."
)

FILES, CONTENT, STYLE, REGION = "<files>", "<content>", "<style>", "<region>"
"""Tags of the alternatives in the location of pydantic's errors; no key can have such a name."""


class ContentEntry(StrictModel):
    """One content with settings and regions of its own."""

    path: str = Field(description="The image.")
    settings: SettingsSpec = Field(
        default_factory=SettingsSpec, description="Settings of this content alone."
    )
    guide: Guide | None = Field(None, description=_GUIDE)


class RegionEntry(StrictModel):
    """The images whose style one region takes."""

    path: str | None = Field(None, description="The image.")
    paths: list[str] | dict[str, Weight] | None = Field(
        None, description="In place of `path`: a list of images, or a map of images to weights."
    )
    guide: Guide | None = Field(
        None, description=_GUIDE + " A region takes the style of the region of the same name."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problem = self._problem()
        if problem is not None:
            raise ValueError(problem)
        return self

    def _problem(self) -> str | None:
        if (self.path is None) == (self.paths is None):
            return "give either `path`, for one image, or `paths`, for a blend"
        if self.guide is not None and self.path is None:
            return "a `guide` belongs to one image; give it with `path`"
        return None

    @property
    def files(self) -> str | list[str] | dict[str, float]:
        """The image or images."""
        if self.path is not None:
            return self.path
        assert self.paths is not None
        return self.paths


def _is_files(value: Any, entry: type[StrictModel]) -> bool:
    """A map of files has numbers only; a map with anything else or with a known key is an entry."""
    if isinstance(value, entry):
        return False
    if not isinstance(value, Mapping):
        return True
    plain = not any(isinstance(weight, (str, list, Mapping)) for weight in value.values())
    return plain and not entry.model_fields.keys() & value.keys()


RegionSpec = Annotated[
    Annotated[str | list[str] | dict[str, Weight], Tag(FILES)]
    | Annotated[RegionEntry, Tag(REGION)],
    Discriminator(lambda value: FILES if _is_files(value, RegionEntry) else REGION),
]


class StyleEntry(RegionEntry):
    """One style with settings and regions of its own."""

    settings: SettingsSpec = Field(
        default_factory=SettingsSpec, description="Settings of this style alone."
    )
    regions: Annotated[dict[Region, RegionSpec], Field(min_length=1)] | None = Field(
        None,
        description="In place of `path`: a style for every region of the content's guide, each written "
        "like a style.",
    )

    def _problem(self) -> str | None:
        if self.regions is None:
            return super()._problem()
        if self.path is not None or self.paths is not None:
            return "give either `path`, or `paths`, or `regions`"
        if self.guide is not None:
            return "a `guide` belongs to one image; give it below `regions`"
        return None


ContentSpec = Annotated[
    Annotated[str, Tag(FILES)] | Annotated[ContentEntry, Tag(CONTENT)],
    Discriminator(lambda v: CONTENT if isinstance(v, (Mapping, ContentEntry)) else FILES),
]

StyleSpec = Annotated[
    Annotated[str | list[str] | dict[str, Weight], Tag(FILES)] | Annotated[StyleEntry, Tag(STYLE)],
    Discriminator(lambda value: FILES if _is_files(value, StyleEntry) else STYLE),
]

ENTRIES: dict[str, type[StrictModel]] = {
    CONTENT: ContentEntry,
    STYLE: StyleEntry,
    REGION: RegionEntry,
}
"""The models behind the alternatives."""
