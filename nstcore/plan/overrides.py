"""Settings of cells: those of the point, and over them what a content or a style has for itself."""

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
from nstcore.plan.values import format_value


class Overrides:
    """Resolves settings, each combination once.

    Args:
        contents: the contents with their own settings.
        styles: the styles with theirs, which count if a content says the same.
    """

    def __init__(
        self, contents: Mapping[str, ContentSource], styles: Mapping[str, StyleSource]
    ) -> None:
        self.contents = contents
        self.styles = styles
        self._known: dict[tuple[str | None, str | None, str], Settings | ConfigError] = {}

    def problems(self, sweep: Sweep) -> Iterator[str]:
        """Own settings of contents and styles that the sweep sets as well."""
        setters = sweep.setters()
        for kind, sources in (("contents", self.contents), ("styles", self.styles)):
            for name, source in sources.items():
                for setting in source.settings:
                    if setting in setters:
                        yield (
                            f"{kind}.{name}.settings.{setting}: is set by the axis "
                            f"`{setters[setting][0]}` too; remove it from one of the two"
                        )

    def own(self, style: str, content: str) -> dict[str, Any]:
        """What a content and a style have for themselves.

        Raises:
            ConfigError: if they say different things.
        """
        mine = self.contents[content].settings
        its = self.styles[style].settings
        problems = [
            f"styles.{style}.settings.{name}: is {format_value(its[name])}, and for contents.{content} "
            f"it is {format_value(mine[name])}; remove one, or exclude the two together"
            for name in its
            if name in mine and read_setting(name, mine[name]) != read_setting(name, its[name])
        ]
        if problems:
            raise ConfigError(problems)
        return {**mine, **its}

    def settings(self, style: str, content: str, point: Point) -> Settings:
        """All settings of a cell.

        Raises:
            ConfigError: if they do not go together.
        """
        key = (
            style if self.styles[style].settings else None,
            content if self.contents[content].settings else None,
            point.name,
        )
        if key not in self._known:
            try:
                given = {**point.explicit, **self.own(style, content)}
                self._known[key] = resolve_settings(given, where=_place(point, *key[:2]))
            except ConfigError as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, ConfigError):
            raise found
        return found


def _place(point: Point, style: str | None, content: str | None) -> str:
    """Where settings come from, for a message about them."""
    where = "sweep.axes" if point.values else "settings"
    values = [f"{name}={format_value(value)}" for name, value in point.values.items()]
    if style is not None:
        values.append(f"styles.{style}")
    if content is not None:
        values.append(f"contents.{content}")
    return f"{where}, {', '.join(values)}" if values else where
