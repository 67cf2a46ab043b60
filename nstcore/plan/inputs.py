"""Which pictures a configuration means: folders, globs, lists and maps become ids and files."""

from __future__ import annotations

import csv
import glob
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from nstcore.config.inputs import ContentEntry, RegionEntry, StyleEntry
from nstcore.config.loader import read_part
from nstcore.config.strict import ID_PATTERN, SettingsSpec
from nstcore.config.yaml_files import read_value
from nstcore.errors import ConfigError

SUFFIX = ".tsv"

Entry = TypeVar("Entry", ContentEntry, StyleEntry)


def is_table(given: Any) -> bool:
    """Whether contents or styles are given as a sheet."""
    return isinstance(given, str) and given.lower().endswith(SUFFIX)


def read_table(path: str, model: type[Entry]) -> dict[str, tuple[str, Entry]]:
    """The entries of a sheet: id -> where it stands, for messages, and the entry.

    The head names the columns: ``id``, what an entry has, such as ``path``, and any settings.
    Fields are read as they would be in the configuration; an empty one is as if it were not there.

    Args:
        path: a text file in UTF-8, with tabs between the fields of a line.  Empty lines and those
            that begin with # say nothing.
        model: of the entries.

    Raises:
        ConfigError: one line for every mistake, with the number of the line in the sheet.
    """
    rows = _rows(path)
    head = rows[0][1] if rows else []
    own = [name for name in model.model_fields if name != "settings"]
    problems = _problems_of_head(path, head, own)
    if problems:
        raise ConfigError(problems)
    found: dict[str, tuple[str, Entry]] = {}
    for number, words in rows[1:]:
        where = f"{path}, line {number}"
        try:
            name, values = _read_row(where, head, words, own)
            if name in found:
                raise ConfigError([f"{where}: the id {name!r} stands twice; keep one"])
            found[name] = where, read_part(model, values, where)
        except ConfigError as error:
            problems += [line.replace(": settings.", ": ", 1) for line in error.problems]
    if problems:
        raise ConfigError(problems)
    if not found:
        raise ConfigError([f"{path}: holds no picture; give a line for each"])
    return found


def _rows(path: str) -> list[tuple[int, list[str]]]:
    """The lines that say something, with their numbers, as fields without blanks around them."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        where = f"paths start from {Path.cwd()}"
        raise ConfigError([f"{path}: there is no such file ({where})"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not a text file in UTF-8"]) from None
    lines = csv.reader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    numbered = [(n, [word.strip() for word in line]) for n, line in enumerate(lines, start=1)]
    return [(n, words) for n, words in numbered if any(words) and not words[0].startswith("#")]


def _problems_of_head(path: str, head: list[str], own: list[str]) -> list[str]:
    where = f"{path}, line 1"
    known = ["id", *own, *SettingsSpec.model_fields]
    listed = ", ".join(f"`{name}`" for name in own)
    problems = [
        f"{where}: the column `{name}` is neither `id`, {listed} nor a setting"
        for name in head
        if name not in known
    ]
    problems += [
        f"{where}: the column `{name}` stands twice"
        for name in dict.fromkeys(head)
        if head.count(name) > 1
    ]
    needed = {"id": ["id"], "path": [name for name in own if name in ("path", "paths")]}
    problems += [
        f"{where}: the column `{name}` is missing (between columns stands a tab)"
        for name, any_of in needed.items()
        if not set(any_of) & set(head)
    ]
    return problems


def _read_row(
    where: str, head: list[str], words: list[str], own: list[str]
) -> tuple[str, dict[str, Any]]:
    """Id and keys of an entry."""
    if len(words) > len(head):
        count = f"{len(words)} fields where the head has {len(head)}"
        raise ConfigError([f"{where}: has {count}"])
    row = {name: word for name, word in zip(head, words, strict=False) if word}
    name = row.pop("id", "")
    if re.fullmatch(ID_PATTERN, name) is None or len(name) > 100:
        raise ConfigError([f"{where}: {name!r} is no id: letters, digits, . _ - only"])
    entry: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for column, word in row.items():
        try:
            value = word if column == "path" else read_value(word)
        except ConfigError as error:
            raise ConfigError([f"{where}: {column}: {error}"]) from None
        (entry if column in own else settings)[column] = value
    if settings:
        entry["settings"] = settings
    return name, entry


# --- Which pictures a configuration means: folders, globs, lists and maps become ids and files. ---

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""Files that a folder or a glob is searched for; any other file can still be named by itself."""


Guide = str | Mapping[str, str]
"""A picture in flat colours, or region -> greyscale picture."""


@dataclass(frozen=True)
class ContentSource:
    """The file of one content.

    Attributes:
        path: the picture.
        settings: settings that are others for this content, as they were given.
        guide: its regions, if it has any.
    """

    path: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    guide: Guide | None = None

    def entry(self) -> Any:
        """What stands for it in a configuration's map of contents."""
        own = {"settings": dict(self.settings)} if self.settings else {}
        own |= _guide_entry(self.guide)
        return {"path": self.path, **own} if own else self.path


@dataclass(frozen=True)
class StyleSource:
    """The files of one style.

    Attributes:
        paths: the pictures.
        weights: their shares, which add up to 1, or where regions have styles of their own in each
            region.
        settings: settings that are others for this style, as they were given.
        regions: of each picture the region that takes its style; empty for a style of whole pictures.
        guides: of each picture its own regions, or None; empty where no picture has any.
    """

    paths: tuple[str, ...]
    weights: tuple[float, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    regions: tuple[str, ...] = ()
    guides: tuple[Guide | None, ...] = ()

    def guide(self, index: int) -> Guide | None:
        """The regions of a picture, if it has any."""
        return self.guides[index] if self.guides else None

    def pictures(self, region: str) -> list[int]:
        """Which pictures' style a region takes."""
        return [i for i in range(len(self.paths)) if not self.regions or self.regions[i] == region]

    def entry(self) -> Any:
        """What stands for it in a configuration's map of styles."""
        own = {"settings": dict(self.settings)} if self.settings else {}
        if not self.regions:
            return self._files(range(len(self.paths)), own)
        parts = {r: self._files(self.pictures(r), {}) for r in dict.fromkeys(self.regions)}
        return {"regions": parts, **own}

    def _files(self, indices: Sequence[int], own: dict[str, Any]) -> Any:
        if len(indices) == 1:
            path, guide = self.paths[indices[0]], _guide_entry(self.guide(indices[0]))
            return {"path": path, **own, **guide} if own or guide else path
        blend = {self.paths[i]: self.weights[i] for i in indices}
        return {"paths": blend, **own} if own else blend


def _guide_entry(guide: Guide | None) -> dict[str, Any]:
    if guide is None:
        return {}
    return {"guide": guide if isinstance(guide, str) else dict(guide)}


ContentsSpec = str | list[str] | Mapping[str, str | ContentEntry]
StylesSpec = str | list[str] | Mapping[str, str | list[str] | Mapping[str, float] | StyleEntry]


def expand_contents(given: ContentsSpec) -> dict[str, ContentSource]:
    """Content ids and their files.

    Raises:
        ConfigError: one line for every entry that means no file, and for ids that two files claim.
    """
    places: dict[str, str] = {}
    entries: Mapping[str, str | ContentEntry]
    if isinstance(given, str) and is_table(given):
        places, entries = _apart(read_table(given, ContentEntry))
    elif isinstance(given, Mapping):
        entries = given
    else:
        return {name: ContentSource(path) for name, path in _named("contents", given).items()}
    found: dict[str, ContentSource] = {}
    for name, value in entries.items():
        if isinstance(value, ContentEntry):
            found[name] = ContentSource(value.path, value.settings.explicit, value.guide)
        else:
            found[name] = ContentSource(value)
    pairs = [(name, source.path) for name, source in found.items()]
    problems = _missing_files("contents", pairs, places)
    for name, source in found.items():
        problems += _missing_guides(places.get(name, f"contents.{name}"), source.guide)
    if not entries:
        problems.append("contents: is empty; give at least one picture")
    if problems:
        raise ConfigError(problems)
    return found


def expand_styles(given: StylesSpec) -> dict[str, StyleSource]:
    """Style ids and their files with weights.

    Raises:
        ConfigError: as :func:`expand_contents`.
    """
    places: dict[str, str] = {}
    entries: Mapping[str, str | list[str] | Mapping[str, float] | StyleEntry]
    if isinstance(given, str) and is_table(given):
        places, entries = _apart(read_table(given, StyleEntry))
    elif isinstance(given, Mapping):
        entries = given
    else:
        return {
            name: StyleSource((path,), (1.0,)) for name, path in _named("styles", given).items()
        }
    found: dict[str, StyleSource] = {}
    problems: list[str] = []
    for name, value in entries.items():
        where = places.get(name, f"styles.{name}")
        own = value.settings.explicit if isinstance(value, StyleEntry) else {}
        if isinstance(value, StyleEntry) and value.regions is not None:
            parts = {
                region: _style_files(f"{where}.regions.{region}", part, problems)
                for region, part in value.regions.items()
            }
            found[name] = StyleSource(
                tuple(path for part in parts.values() for path in part.paths),
                tuple(weight for part in parts.values() for weight in part.weights),
                own,
                tuple(region for region, part in parts.items() for _ in part.paths),
                _guides(list(parts.values())),
            )
        else:
            found[name] = replace(_style_files(where, value, problems), settings=own)
    if not entries:
        problems.append("styles: is empty; give at least one picture")
    pairs = [(name, path) for name, source in found.items() for path in source.paths]
    problems += _missing_files("styles", pairs, places)
    for name, source in found.items():
        for guide in source.guides:
            problems += _missing_guides(places.get(name, f"styles.{name}"), guide)
    if problems:
        raise ConfigError(problems)
    return found


def _style_files(
    where: str,
    given: str | list[str] | Mapping[str, float] | RegionEntry,
    problems: list[str],
) -> StyleSource:
    """The pictures of a style, or of one of its regions; what is wrong is added to ``problems``."""
    guide = given.guide if isinstance(given, RegionEntry) else None
    files = given.files if isinstance(given, RegionEntry) else given
    if isinstance(files, str):
        parts = {files: 1.0}
    elif isinstance(files, list):
        parts = dict.fromkeys(files, 1.0)
        if len(parts) < len(files):
            problems.append(f"{where}: a file stands twice; give it a weight instead")
    else:
        parts = dict(files)
    if not parts:
        problems.append(f"{where}: holds no file; give at least one")
        return StyleSource((), ())
    guides = () if guide is None else (guide,)
    return StyleSource(tuple(parts), _shares(list(parts.values())), guides=guides)


def _guides(parts: Sequence[StyleSource]) -> tuple[Guide | None, ...]:
    """Of every picture of all parts its guide; empty where no picture has any."""
    if not any(part.guides for part in parts):
        return ()
    return tuple(part.guide(i) for part in parts for i in range(len(part.paths)))


def _missing_guides(where: str, guide: Guide | None) -> list[str]:
    if guide is None:
        return []
    named = (
        {"guide": guide} if isinstance(guide, str) else {f"guide.{k}": v for k, v in guide.items()}
    )
    found = (_missing(f"{where}.{name}", path) for name, path in named.items())
    return [problem for problem in found if problem]


def _shares(weights: list[float]) -> tuple[float, ...]:
    """Weights that add up to 1; those which do already stay the same to the last bit.

    A frozen configuration holds shares, and its jobs must find the very same ones again.
    """
    total = math.fsum(weights)
    if abs(total - 1) < 1e-12:
        return tuple(weights)
    return tuple(weight / total for weight in weights)


def _apart(rows: Mapping[str, tuple[str, Entry]]) -> tuple[dict[str, str], dict[str, Entry]]:
    """Where the entries of a sheet stand, and the entries themselves."""
    places = {name: place for name, (place, _) in rows.items()}
    return places, {name: entry for name, (_, entry) in rows.items()}


def _missing_files(
    where: str, pairs: list[tuple[str, str]], places: Mapping[str, str]
) -> list[str]:
    found = (_missing(places.get(name, f"{where}.{name}"), path) for name, path in pairs)
    return [problem for problem in found if problem]


def _missing(where: str, path: str) -> str | None:
    if Path(path).is_dir():
        return f"{where}: {path} is a folder; a map or a sheet needs files"
    if not Path(path).is_file():
        return f"{where}: there is no file {path} (paths start from {Path.cwd()})"
    return None


def _named(where: str, given: str | list[str]) -> dict[str, str]:
    entries = [given] if isinstance(given, str) else given
    problems: list[str] = []
    files: list[str] = []
    for index, entry in enumerate(entries):
        place = where if isinstance(given, str) else f"{where}[{index}]"
        found = _files(entry)
        if not found:
            kind = "folder holds" if Path(entry).is_dir() else "matches"
            if kind == "matches" and not glob.has_magic(entry):
                problems.append(_missing(place, entry) or "")
            else:
                what = " ".join(SUFFIXES)
                problems.append(
                    f"{place}: {entry} {kind} no picture ({what}; paths start from {Path.cwd()})"
                )
        files += found
    if not entries:
        problems.append(f"{where}: is empty; give at least one picture")
    named: dict[str, str] = {}
    for path in dict.fromkeys(files):
        name = make_id(Path(path).stem)
        if name in named:
            problems.append(
                f"{where}: {named[name]} and {path} would both be called {name!r}; name them in a map"
            )
        else:
            named[name] = path
    if problems:
        raise ConfigError(problems)
    return named


def _files(entry: str) -> list[str]:
    path = Path(entry)
    if path.is_dir():
        return [str(p) for p in sorted(path.iterdir(), key=natural_key) if _is_picture(p)]
    if path.is_file():
        return [entry]
    matches = (Path(p) for p in glob.glob(entry, recursive=True))
    return [str(p) for p in sorted(matches, key=natural_key) if _is_picture(p)]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def natural_key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts ``photo2`` before ``photo10``, the same on every machine."""
    parts = re.split(r"(\d+)", str(path))
    natural = [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts]
    # photo1 and photo01 are equal so far; without more their order would be the file system's.
    return natural, str(path)


def make_id(stem: str) -> str:
    """An id from a file's name: what cannot stand in an id becomes a hyphen."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")
    return name[:100] or "picture"
