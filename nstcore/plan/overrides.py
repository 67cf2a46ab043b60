"""What contents and styles have of their own: settings over those of the point, and regions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from nstcore.config.loader import resolve_settings
from nstcore.config.strict import read_setting
from nstcore.config.sweep import Sweep
from nstcore.core.settings import Settings
from nstcore.errors import ConfigError, raise_problems
from nstcore.plan.axes import Point
from nstcore.plan.inputs import ContentSource, StyleSource
from nstcore.plan.values import format_value, format_values

Contents = Mapping[str, ContentSource]
Styles = Mapping[str, StyleSource]


class Overrides:
    """Resolves settings, each combination once."""

    def __init__(self, contents: Contents, styles: Styles) -> None:
        self.contents = contents
        self.styles = styles
        self._resolved: dict[tuple[str | None, str | None, str], Settings | ConfigError] = {}

    def problems(self, sweep: Sweep) -> Iterator[str]:
        """Settings of contents and styles that the sweep sets as well."""
        setters = sweep.setters()
        for kind, sources in (("contents", self.contents), ("styles", self.styles)):
            for name, source in sources.items():
                for setting in source.settings:
                    if setting in setters:
                        yield (
                            f"{kind}.{name}.settings.{setting}: is set by the axis "
                            f"`{setters[setting][0]}` too; remove it from one of the two"
                        )

    def _of(self, style: str, content: str) -> dict[str, Any]:
        """The settings that a content and a style have for themselves."""
        of_content = self.contents[content].settings
        of_style = self.styles[style].settings
        problems = [
            f"styles.{style}.settings.{name}: is {format_value(value)}, and in contents.{content} it is "
            f"{format_value(of_content[name])}; remove one, or exclude the two together"
            for name, value in of_style.items()
            if name in of_content
            and read_setting(name, of_content[name]) != read_setting(name, value)
        ]
        raise_problems(problems)
        return {**of_content, **of_style}

    def settings(self, style: str, content: str, point: Point) -> Settings:
        """All settings of a cell.

        Raises:
            ConfigError: if they contradict each other.
        """
        key = (
            style if self.styles[style].settings else None,
            content if self.contents[content].settings else None,
            point.name,
        )
        if key not in self._resolved:
            try:
                explicit = {**point.explicit, **self._of(style, content)}
                self._resolved[key] = resolve_settings(explicit, where=_origin(point, *key[:2]))
            except ConfigError as error:
                self._resolved[key] = error
        found = self._resolved[key]
        if isinstance(found, ConfigError):
            raise found
        return found


def _origin(point: Point, style: str | None, content: str | None) -> str:
    """Where settings come from, for a message about them."""
    parts = ["sweep.axes", format_values(point.values, ", ")] if point.values else ["settings"]
    parts += [f"styles.{style}"] if style is not None else []
    parts += [f"contents.{content}"] if content is not None else []
    return ", ".join(parts)


# --- Whether the regions of contents and styles fit together. ---

Image = tuple[str, int]
"""A style and the index of its image."""


def named_regions(
    contents: Contents, styles: Styles
) -> tuple[dict[str, list[str]], dict[Image, list[str]]]:
    """Regions that the configuration itself names, of contents and of the images of styles.

    Those of guides in colors are in files, which a plan does not read.
    """
    of_contents = {
        name: sorted(source.guide)
        for name, source in contents.items()
        if isinstance(source.guide, Mapping)
    }
    of_images = {
        (name, index): sorted(guide)
        for name, source in styles.items()
        for index, guide in enumerate(source.guides)
        if isinstance(guide, Mapping)
    }
    return of_contents, of_images


def check_regions(
    contents: Contents,
    styles: Styles,
    pairs: Iterable[tuple[str, str]],
    of_contents: Mapping[str, Sequence[str]],
    of_images: Mapping[Image, Sequence[str]],
) -> Iterator[str]:
    """One line for every style that lacks regions of a content, as far as their names are known.

    Args:
        pairs: every style and content that are combined.
        of_contents: content -> its regions.
        of_images: style and index of its image -> the image's regions.
    """
    for style, content in pairs:
        source, where = styles[style], f"styles.{style}"
        if contents[content].guide is None:
            if source.regions:
                yield (
                    f"{where}: has a style for each region, but contents.{content} has no regions; give "
                    "it a `guide`"
                )
            continue
        needed = of_contents.get(content)
        if needed is None:
            continue
        if source.regions:
            yield from _lacking(f"{where}.regions", source.regions, needed, content)
        for index, path in enumerate(source.paths):
            known = of_images.get((style, index))
            if known is not None:
                wanted = [r for r in needed if not source.regions or r == source.regions[index]]
                yield from _lacking(f"{where}, the guide of {path}", known, wanted, content)


def _lacking(
    where: str, known: Sequence[str], needed: Sequence[str], content: str
) -> Iterator[str]:
    lacking = [name for name in needed if name not in known]
    if lacking:
        yield (
            f"{where}: has no {', '.join(lacking)}, which contents.{content} has; there are: "
            f"{', '.join(dict.fromkeys(known))}"
        )


def check_region_weights(
    contents: Contents, settings: Iterable[Settings], of_contents: Mapping[str, Sequence[str]]
) -> list[str]:
    """One line for every region of `region_weights` that no content has."""
    weighted = dict.fromkeys(region for one in settings for region in one.region_weights)
    guided = [name for name, source in contents.items() if source.guide is not None]
    if weighted and not guided:
        return ["region_weights: no content has regions; give one a `guide`"]
    if not all(name in of_contents for name in guided):
        return []
    known = dict.fromkeys(region for name in guided for region in of_contents[name])
    return [
        f"region_weights: no content has a region {name}; there are: {', '.join(known)}"
        for name in weighted
        if name not in known
    ]
