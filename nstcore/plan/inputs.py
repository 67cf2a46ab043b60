"""The images of a configuration: folders, globs, lists, maps and tables become ids and files."""

from __future__ import annotations

import csv
import glob
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nstcore.config.inputs import ContentEntry, RegionEntry, StyleEntry
from nstcore.config.loader import read_part
from nstcore.config.strict import ID_PATTERN, SettingsSpec
from nstcore.config.yaml_files import read_value
from nstcore.errors import ConfigError, collect_problems, raise_problems

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
        return _entry(self.path, self.settings, self.guide)


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
        if not self.regions:
            return self._files(range(len(self.paths)), self.settings)
        parts = {r: self._files(self.images(r), {}) for r in dict.fromkeys(self.regions)}
        return {"regions": parts, **({"settings": dict(self.settings)} if self.settings else {})}

    def _files(self, indices: Sequence[int], settings: Mapping[str, Any]) -> Any:
        if len(indices) == 1:
            return _entry(self.paths[indices[0]], settings, self.guide(indices[0]))
        return _entry({self.paths[i]: self.weights[i] for i in indices}, settings, None)


def _entry(files: str | dict[str, float], settings: Mapping[str, Any], guide: Guide | None) -> Any:
    if not settings and guide is None:
        return files
    entry: dict[str, Any] = {"path" if isinstance(files, str) else "paths": files}
    if settings:
        entry["settings"] = dict(settings)
    if guide is not None:
        entry["guide"] = guide if isinstance(guide, str) else dict(guide)
    return entry


ContentsSpec = str | list[str] | Mapping[str, str | ContentEntry]
StylesSpec = str | list[str] | Mapping[str, str | list[str] | Mapping[str, float] | StyleEntry]


def expand_contents(spec: ContentsSpec, *, check: bool = True) -> dict[str, ContentSource]:
    """Content ids and their files.

    Args:
        check: whether the files have to exist.

    Raises:
        ConfigError: one line for every entry without a file, and for ids that two files would have.
    """
    entries, places = _entries("contents", spec, ContentEntry)
    found: dict[str, ContentSource] = {}
    problems: list[str] = []
    for name, value in entries.items():
        if isinstance(value, str):
            source = ContentSource(value)
        else:
            source = ContentSource(value.path, value.settings.explicit, value.guide)
        found[name] = source
        if check:
            problems += _missing(places[name], source.path)
            problems += _missing(f"{places[name]}.guide", source.guide)
    raise_problems(problems)
    return found


def expand_styles(spec: StylesSpec, *, check: bool = True) -> dict[str, StyleSource]:
    """Style ids and their files with weights; arguments and errors as in :func:`expand_contents`."""
    entries, places = _entries("styles", spec, StyleEntry)
    found: dict[str, StyleSource] = {}
    problems: list[str] = []
    for name, value in entries.items():
        where, regions = places[name], getattr(value, "regions", None)
        parts = {f"{where}.regions.{r}": (r, part) for r, part in (regions or {}).items()}
        images = [
            (path, weight, region, guide)
            for place, (region, part) in (parts or {where: ("", value)}).items()
            for path, weight, guide in _style_images(place, part, problems)
        ]
        paths, weights, of, guides = zip(*images, strict=True) if images else ((), (), (), ())
        found[name] = StyleSource(
            paths,
            weights,
            value.settings.explicit if isinstance(value, StyleEntry) else {},
            of if regions else (),
            guides if any(guide is not None for guide in guides) else (),
        )
    for name, source in found.items() if check else ():
        for path in source.paths:
            problems += _missing(places[name], path)
        for guide in source.guides:
            problems += _missing(f"{places[name]}.guide", guide)
    raise_problems(problems)
    return found


def _entries(
    kind: str, spec: Any, model: type[ContentEntry | StyleEntry]
) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """Id -> entry, and id -> its place for messages."""
    if isinstance(spec, str) and spec.lower().endswith(".tsv"):
        return _read_table(spec, model)
    entries = spec if isinstance(spec, Mapping) else _name_files(kind, spec)
    if not entries:
        raise ConfigError([f"{kind}: is empty; give at least one image"])
    return entries, {name: f"{kind}.{name}" for name in entries}


def _style_images(
    where: str, spec: str | list[str] | Mapping[str, float] | RegionEntry, problems: list[str]
) -> Iterator[tuple[str, float, Guide | None]]:
    """Path, weight and guide of each image of a style, or of a region; mistakes go to ``problems``."""
    guide = spec.guide if isinstance(spec, RegionEntry) else None
    files = spec.files if isinstance(spec, RegionEntry) else spec
    if isinstance(files, str):
        files = [files]
    weights = files if isinstance(files, Mapping) else dict.fromkeys(files, 1.0)
    if len(weights) < len(files):
        problems.append(f"{where}: a file appears twice; give it a weight instead")
    if not weights:
        problems.append(f"{where}: has no file; give at least one")
    for path, weight in zip(weights, _fractions(list(weights.values())), strict=True):
        yield path, weight, guide


def _fractions(weights: list[float]) -> tuple[float, ...]:
    """Weights with a sum of 1; those that have it already stay the same to the last bit.

    A frozen configuration has fractions, and its jobs must find the very same ones again.
    """
    total = math.fsum(weights)
    if abs(total - 1) < 1e-12:
        return tuple(weights)
    return tuple(weight / total for weight in weights)


def _missing(where: str, files: Guide | None) -> Iterator[str]:
    """One line for each of some files that does not exist."""
    if files is None:
        return
    if isinstance(files, Mapping):
        for name, path in files.items():
            yield from _missing(f"{where}.{name}", path)
    elif Path(files).is_dir():
        yield f"{where}: {files} is a folder; a map or a table needs files"
    elif not Path(files).is_file():
        yield f"{where}: there is no file {files} (paths start from {Path.cwd()})"


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
    raise_problems(problems)
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


# --- Tables: text files ``*.tsv`` with an image in each line. ---


def _read_table(
    path: str, model: type[ContentEntry | StyleEntry]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Id -> entry of a table, and id -> its place for messages.

    The header names the columns: ``id``, keys of an entry such as ``path``, and any settings.  Fields
    are read as they would be in the configuration; an empty field is a key that is not given.  Empty
    lines and those that begin with # are ignored.
    """
    lines = _read_lines(path)
    header = lines[0][1] if lines else []
    keys = [name for name in model.model_fields if name != "settings"]
    problems = _check_header(path, header, keys)
    entries: dict[str, Any] = {}
    places: dict[str, str] = {}
    for number, fields in lines[1:] if not problems else ():
        where = f"{path}, line {number}"
        with collect_problems(problems):
            name, values = _read_row(where, header, fields, keys)
            if name in entries:
                raise ConfigError([f"{where}: the id {name!r} appears twice; remove one"])
            entries[name], places[name] = read_part(model, values, where), where
    if problems:
        raise ConfigError([line.replace(": settings.", ": ", 1) for line in problems])
    if not entries:
        raise ConfigError([f"{path}: has no images; give a line for each"])
    return entries, places


def _read_lines(path: str) -> list[tuple[int, list[str]]]:
    """The lines that are not ignored: their numbers, and their fields."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file (paths start from {Path.cwd()})"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not a text file in UTF-8"]) from None
    lines = csv.reader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    numbered = [(n, [field.strip() for field in line]) for n, line in enumerate(lines, start=1)]
    return [(n, fields) for n, fields in numbered if any(fields) and not fields[0].startswith("#")]


def _check_header(path: str, header: list[str], keys: list[str]) -> list[str]:
    where = f"{path}, line 1"
    listed = ", ".join(f"`{name}`" for name in keys)
    problems = [
        f"{where}: the column `{name}` is neither `id`, {listed} nor a setting"
        for name in header
        if name not in ("id", *keys, *SettingsSpec.model_fields)
    ]
    problems += [
        f"{where}: the column `{name}` appears twice; remove one"
        for name in dict.fromkeys(header)
        if header.count(name) > 1
    ]
    for name, any_of in (("id", {"id"}), ("path", {"path", "paths"} & set(keys))):
        if not any_of & set(header):
            problems.append(f"{where}: the column `{name}` is missing (tabs separate columns)")
    return problems


def _read_row(
    where: str, header: list[str], fields: list[str], keys: list[str]
) -> tuple[str, dict[str, Any]]:
    """Id and keys of an entry."""
    if len(fields) > len(header):
        raise ConfigError(
            [f"{where}: has {len(fields)} fields, but the header has {len(header)} columns"]
        )
    row = {name: field for name, field in zip(header, fields, strict=False) if field}
    name = row.pop("id", "")
    if re.fullmatch(ID_PATTERN, name) is None or len(name) > 100:
        raise ConfigError([f"{where}: the id {name!r} may have letters, digits, . _ - only"])
    entry: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for column, text in row.items():
        try:
            value = text if column == "path" else read_value(text)
        except ConfigError as error:
            raise ConfigError([f"{where}: {column}: {error}"]) from None
        (entry if column in keys else settings)[column] = value
    if settings:
        entry["settings"] = settings
    return name, entry
