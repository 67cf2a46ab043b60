"""The images of a configuration: folders, globs, lists, maps and tables become ids and files."""

from __future__ import annotations

import glob
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nstcore.config.inputs import ContentEntry, RegionEntry, StyleEntry
from nstcore.core.settings import Settings
from nstcore.errors import ConfigError
from nstcore.plan.input_tables import Entry, is_table, read_table

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""Suffixes of the files that a folder or a glob gives; any other file can be named by itself."""


Guide = str | Mapping[str, str]
"""An image in flat colors, or region -> greyscale image."""


@dataclass(frozen=True)
class ContentSource:
    """The file of one content.

    Attributes:
        path: the image.
        settings: settings of this content alone, as the user wrote them.
        guide: its regions, if it has any.
    """

    path: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    guide: Guide | None = None

    def entry(self) -> Any:
        """Its entry in a configuration's map of contents."""
        keys = _settings_entry(self.settings) | _guide_entry(self.guide)
        return {"path": self.path, **keys} if keys else self.path


@dataclass(frozen=True)
class StyleSource:
    """The files of one style.

    Attributes:
        paths: the images.
        weights: their fractions, with a sum of 1; if regions have styles of their own, in each region.
        settings: settings of this style alone, as the user wrote them.
        regions: for each image the region that takes its style; empty for a style of whole images.
        guides: for each image its own regions, or None; empty if no image has any.
    """

    paths: tuple[str, ...]
    weights: tuple[float, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    regions: tuple[str, ...] = ()
    guides: tuple[Guide | None, ...] = ()

    def guide(self, index: int) -> Guide | None:
        """The regions of an image, if it has any."""
        return self.guides[index] if self.guides else None

    def images(self, region: str) -> list[int]:
        """Indices of the images whose style a region takes."""
        return [i for i in range(len(self.paths)) if not self.regions or self.regions[i] == region]

    def entry(self) -> Any:
        """Its entry in a configuration's map of styles."""
        settings = _settings_entry(self.settings)
        if not self.regions:
            return self._files(range(len(self.paths)), settings)
        parts = {r: self._files(self.images(r), {}) for r in dict.fromkeys(self.regions)}
        return {"regions": parts, **settings}

    def _files(self, indices: Sequence[int], settings: dict[str, Any]) -> Any:
        if len(indices) == 1:
            path, keys = self.paths[indices[0]], settings | _guide_entry(self.guide(indices[0]))
            return {"path": path, **keys} if keys else path
        blend = {self.paths[i]: self.weights[i] for i in indices}
        return {"paths": blend, **settings} if settings else blend


def _settings_entry(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"settings": dict(settings)} if settings else {}


def _guide_entry(guide: Guide | None) -> dict[str, Any]:
    if guide is None:
        return {}
    return {"guide": guide if isinstance(guide, str) else dict(guide)}


ContentsSpec = str | list[str] | Mapping[str, str | ContentEntry]
StylesSpec = str | list[str] | Mapping[str, str | list[str] | Mapping[str, float] | StyleEntry]


def expand_contents(spec: ContentsSpec) -> dict[str, ContentSource]:
    """Content ids and their files.

    Raises:
        ConfigError: one line for every entry without a file, and for ids that two files would have.
    """
    entries, places = _entries("contents", spec, ContentEntry)
    found = {
        name: ContentSource(value.path, value.settings.explicit, value.guide)
        if isinstance(value, ContentEntry)
        else ContentSource(value)
        for name, value in entries.items()
    }
    problems = [p for name, one in found.items() for p in _missing(places[name], one.path)]
    for name, source in found.items():
        problems += _missing_guides(places[name], source.guide)
    if problems:
        raise ConfigError(problems)
    return found


def expand_styles(spec: StylesSpec) -> dict[str, StyleSource]:
    """Style ids and their files with weights.

    Raises:
        ConfigError: as :func:`expand_contents`.
    """
    entries, places = _entries("styles", spec, StyleEntry)
    found: dict[str, StyleSource] = {}
    problems: list[str] = []
    for name, value in entries.items():
        where = places[name]
        settings = value.settings.explicit if isinstance(value, StyleEntry) else {}
        if isinstance(value, StyleEntry) and value.regions is not None:
            parts = {
                region: _style_files(f"{where}.regions.{region}", part, problems)
                for region, part in value.regions.items()
            }
            found[name] = StyleSource(
                tuple(path for part in parts.values() for path in part.paths),
                tuple(weight for part in parts.values() for weight in part.weights),
                settings,
                tuple(region for region, part in parts.items() for _ in part.paths),
                _guides(list(parts.values())),
            )
        else:
            found[name] = replace(_style_files(where, value, problems), settings=settings)
    for name, source in found.items():
        for path in source.paths:
            problems += _missing(places[name], path)
    for name, source in found.items():
        for guide in source.guides:
            problems += _missing_guides(places[name], guide)
    if problems:
        raise ConfigError(problems)
    return found


def _entries(
    kind: str, spec: Any, model: type[Entry]
) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """Id -> entry, and id -> its place for messages.

    Raises:
        ConfigError: if there are none, or a table or a list has mistakes.
    """
    if is_table(spec):
        rows = read_table(spec, model)
        return {n: entry for n, (_, entry) in rows.items()}, {n: at for n, (at, _) in rows.items()}
    entries = spec if isinstance(spec, Mapping) else _name_files(kind, spec)
    if not entries:
        raise ConfigError([f"{kind}: is empty; give at least one image"])
    return entries, {name: f"{kind}.{name}" for name in entries}


def _style_files(
    where: str,
    spec: str | list[str] | Mapping[str, float] | RegionEntry,
    problems: list[str],
) -> StyleSource:
    """The images of a style, or of one of its regions; mistakes are added to ``problems``."""
    guide = spec.guide if isinstance(spec, RegionEntry) else None
    files = spec.files if isinstance(spec, RegionEntry) else spec
    if isinstance(files, str):
        weights = {files: 1.0}
    elif isinstance(files, list):
        weights = dict.fromkeys(files, 1.0)
        if len(weights) < len(files):
            problems.append(f"{where}: a file appears twice; give it a weight instead")
    else:
        weights = dict(files)
    if not weights:
        problems.append(f"{where}: has no file; give at least one")
        return StyleSource((), ())
    guides = () if guide is None else (guide,)
    return StyleSource(tuple(weights), _fractions(list(weights.values())), guides=guides)


def _guides(parts: Sequence[StyleSource]) -> tuple[Guide | None, ...]:
    """The guide of every image of all parts; empty if no image has any."""
    if not any(part.guides for part in parts):
        return ()
    return tuple(part.guide(i) for part in parts for i in range(len(part.paths)))


def _fractions(weights: list[float]) -> tuple[float, ...]:
    """Weights with a sum of 1; those that have it already stay the same to the last bit.

    A frozen configuration has fractions, and its jobs must find the very same ones again.
    """
    total = math.fsum(weights)
    if abs(total - 1) < 1e-12:
        return tuple(weights)
    return tuple(weight / total for weight in weights)


def _missing_guides(where: str, guide: Guide | None) -> Iterator[str]:
    if isinstance(guide, str):
        yield from _missing(f"{where}.guide", guide)
    for name, path in guide.items() if isinstance(guide, Mapping) else ():
        yield from _missing(f"{where}.guide.{name}", path)


def _missing(where: str, path: str) -> Iterator[str]:
    if Path(path).is_dir():
        yield f"{where}: {path} is a folder; a map or a table needs files"
    elif not Path(path).is_file():
        yield f"{where}: there is no file {path} (paths start from {Path.cwd()})"


def _name_files(kind: str, spec: str | list[str]) -> dict[str, str]:
    """Id -> file, for all files of a folder, a glob, or a list."""
    entries = [spec] if isinstance(spec, str) else spec
    problems: list[str] = []
    files: list[str] = []
    for index, entry in enumerate(entries):
        where = kind if isinstance(spec, str) else f"{kind}[{index}]"
        found = _files(entry)
        if not found and not Path(entry).is_dir() and not glob.has_magic(entry):
            problems += _missing(where, entry)
        elif not found:
            verb = "folder has" if Path(entry).is_dir() else "matches"
            what = f"{' '.join(SUFFIXES)}; paths start from {Path.cwd()}"
            problems.append(f"{where}: {entry} {verb} no image ({what})")
        files += found
    named: dict[str, str] = {}
    for path in dict.fromkeys(files):
        name = make_id(Path(path).stem)
        if name in named:
            problems.append(
                f"{kind}: {named[name]} and {path} would both get the id {name!r}; name them in a map"
            )
        else:
            named[name] = path
    if problems:
        raise ConfigError(problems)
    return named


def _files(entry: str) -> list[str]:
    path = Path(entry)
    if path.is_dir():
        return [str(p) for p in sorted(path.iterdir(), key=natural_key) if _is_image(p)]
    if path.is_file():
        return [entry]
    matches = (Path(p) for p in glob.glob(entry, recursive=True))
    return [str(p) for p in sorted(matches, key=natural_key) if _is_image(p)]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def natural_key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts ``photo2`` before ``photo10``, the same on every machine."""
    parts = re.split(r"(\d+)", str(path))
    natural = [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts]
    # photo1 and photo01 are equal so far; the path decides, so that the file system's order does not.
    return natural, str(path)


def make_id(stem: str) -> str:
    """An id from a file's name: characters that an id cannot have become hyphens."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")
    return name[:100] or "picture"


# --- Whether the regions of contents and styles fit together. ---

Image = tuple[str, int]
"""A style and the index of its image."""

Contents = Mapping[str, ContentSource]
Styles = Mapping[str, StyleSource]


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
        contents, styles: of the run.
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
