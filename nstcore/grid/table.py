"""Contents or styles from a sheet: tab-separated text with a row for each picture."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any, TypeVar

from nstcore.config.entries import ContentEntry, StyleEntry
from nstcore.config.given import ID_PATTERN, SettingsInput
from nstcore.config.load import read_part, read_value
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
    known = ["id", *own, *SettingsInput.model_fields]
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
