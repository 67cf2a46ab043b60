"""Contents and styles as tables: text files ``*.tsv`` with an image in each line."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any, TypeVar

from nstcore.config.inputs import ContentEntry, StyleEntry
from nstcore.config.loader import read_part
from nstcore.config.strict import ID_PATTERN, SettingsSpec
from nstcore.config.yaml_files import read_value
from nstcore.errors import ConfigError

Entry = TypeVar("Entry", ContentEntry, StyleEntry)


def is_table(spec: Any) -> bool:
    """Whether contents or styles are given as a table."""
    return isinstance(spec, str) and spec.lower().endswith(".tsv")


def read_table(path: str, model: type[Entry]) -> dict[str, tuple[str, Entry]]:
    """The entries of a table: id -> its place, for messages, and the entry.

    The header names the columns: ``id``, keys of an entry such as ``path``, and any settings.  Fields
    are read as they would be in the configuration; an empty field is a key that is not given.

    Args:
        path: a text file in UTF-8, with tabs between the fields of a line.  Empty lines and those
            that begin with # are ignored.
        model: of the entries.

    Raises:
        ConfigError: one line for every mistake, with the number of the line in the table.
    """
    lines = _read_lines(path)
    header = lines[0][1] if lines else []
    keys = [name for name in model.model_fields if name != "settings"]
    problems = _check_header(path, header, keys)
    if problems:
        raise ConfigError(problems)
    found: dict[str, tuple[str, Entry]] = {}
    for number, fields in lines[1:]:
        where = f"{path}, line {number}"
        try:
            name, values = _read_row(where, header, fields, keys)
            if name in found:
                raise ConfigError([f"{where}: the id {name!r} appears twice; remove one"])
            found[name] = where, read_part(model, values, where)
        except ConfigError as error:
            problems += [line.replace(": settings.", ": ", 1) for line in error.problems]
    if problems:
        raise ConfigError(problems)
    if not found:
        raise ConfigError([f"{path}: has no images; give a line for each"])
    return found


def _read_lines(path: str) -> list[tuple[int, list[str]]]:
    """The lines that are not ignored: their numbers, and their fields without blanks around them."""
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
    for column, field in row.items():
        try:
            value = field if column == "path" else read_value(field)
        except ConfigError as error:
            raise ConfigError([f"{where}: {column}: {error}"]) from None
        (entry if column in keys else settings)[column] = value
    if settings:
        entry["settings"] = settings
    return name, entry
