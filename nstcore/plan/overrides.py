"""Settings of cells: those of the point, and over them those of the content and of the style."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nstcore.config.loader import resolve_settings
from nstcore.config.strict import read_setting
from nstcore.config.sweep import Sweep
from nstcore.core.settings import Settings
from nstcore.errors import ConfigError
from nstcore.plan.axes import Point
from nstcore.plan.inputs import ContentSource, StyleSource
from nstcore.plan.values import format_value, format_values


class Overrides:
    """Resolves settings, each combination once.

    Args:
        contents: the contents with their own settings.
        styles: the styles with theirs.
    """

    def __init__(
        self, contents: Mapping[str, ContentSource], styles: Mapping[str, StyleSource]
    ) -> None:
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

    def of(self, style: str, content: str) -> dict[str, Any]:
        """The settings that a content and a style have for themselves.

        Raises:
            ConfigError: if they contradict each other.
        """
        of_content = self.contents[content].settings
        of_style = self.styles[style].settings
        problems = [
            f"styles.{style}.settings.{name}: is {format_value(value)}, and in contents.{content} it is "
            f"{format_value(of_content[name])}; remove one, or exclude the two together"
            for name, value in of_style.items()
            if name in of_content
            and read_setting(name, of_content[name]) != read_setting(name, value)
        ]
        if problems:
            raise ConfigError(problems)
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
                explicit = {**point.explicit, **self.of(style, content)}
                self._resolved[key] = resolve_settings(explicit, where=_origin(point, *key[:2]))
            except ConfigError as error:
                self._resolved[key] = error
        found = self._resolved[key]
        if isinstance(found, ConfigError):
            raise found
        return found


def _origin(point: Point, style: str | None, content: str | None) -> str:
    """Where settings come from, for a message about them."""
    where = "sweep.axes" if point.values else "settings"
    parts = [format_values(point.values, ", ")] if point.values else []
    parts += [f"styles.{style}"] if style is not None else []
    parts += [f"contents.{content}"] if content is not None else []
    return f"{where}, {', '.join(parts)}" if parts else where
