"""YAML files: values, and the line of every key for messages.

The parser is libyaml's through PyYAML.  ruamel.yaml would find repeated keys by itself, but takes
more than twice as long for a file of 10,000 lines and reads the ids ``y`` and ``n`` as truth values.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from nstcore.errors import ConfigError

_PARSERS: list[Any] = [yaml.SafeLoader]
if yaml.__with_libyaml__:
    # The slow parser is asked again about what is wrong: its messages say more.
    _PARSERS.insert(0, yaml.CSafeLoader)


def _knows_exponents(base: Any) -> Any:
    """A loader or dumper to which ``1e3`` is a number."""
    found: Any = type(base.__name__, (base,), {})
    found.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
        list("-+.0123456789"),
    )
    return found


_LOADERS = [_knows_exponents(base) for base in _PARSERS]
_Dumper = _knows_exponents(yaml.SafeDumper)


def read_value(text: str) -> Any:
    """One value, read as it would be in the configuration.

    Raises:
        ConfigError: if it is not valid YAML.
    """
    try:
        return _load(text)[0]
    except yaml.YAMLError:
        raise ConfigError([f"{text!r} is not a valid value"]) from None


def dump_yaml(values: Mapping[str, Any]) -> str:
    """YAML from which :func:`read_yaml` reads the same values."""
    text: str = yaml.dump(
        dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )
    return text


class Document(dict[str, Any]):
    """The mapping in a YAML file, with the lines of its keys.

    Attributes:
        path: the file.
        lines: key as messages spell it, such as ``sweep.exclude[0].style`` -> line, from 1.
    """

    def __init__(self, values: Mapping[str, Any], path: Path, lines: Mapping[str, int]) -> None:
        super().__init__(values)
        self.path = path
        self.lines = lines


def read_yaml(path: Path | str) -> Document:
    """The mapping in a YAML file.

    Raises:
        ConfigError: if the file does not exist, is not valid YAML, repeats a key or holds no mapping.
    """
    path = Path(path)
    try:
        value, lines = _load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file"]) from None
    except IsADirectoryError:
        raise ConfigError([f"{path}: is a folder; give a YAML file"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not a text file in UTF-8"]) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "is not valid YAML"
        raise ConfigError([f"{path}{where}: {problem}"]) from None
    except ConfigError as error:
        raise ConfigError([f"{path}, {problem}" for problem in error.problems]) from None
    if not isinstance(value, dict):
        raise ConfigError([f"{path}: must hold keys and values, such as `contents: photos/`"])
    return Document(value, path, lines)


def with_lines(error: ConfigError, raw: Mapping[str, Any]) -> ConfigError:
    """The same mistakes, each with its line, if the configuration comes from a YAML file.

    Args:
        error: with problems that begin with the key they are about.
        raw: what :func:`read_yaml` read; for any other mapping the error stays as it is.
    """
    if not isinstance(raw, Document):
        return error
    problems = []
    for problem in error.problems:
        key = re.match(r"[^\s:,]*", problem)
        place = key[0] if key else ""
        while place and place not in raw.lines:
            place = re.sub(r"(\.[^.\[]*|\[\d+\]|^[^.\[]*)$", "", place)
        line = f", line {raw.lines[place]}" if place else ""
        problems.append(f"{raw.path}{line}: {problem}")
    return ConfigError(problems)


def _load(text: str) -> tuple[Any, dict[str, int]]:
    """The value of a text, and the lines of its keys."""
    for make in _LOADERS:
        try:
            loader = make(text)
            node = loader.get_single_node()
            lines = dict(_lines(loader, node, "", set()))
            return None if node is None else loader.construct_document(node), lines
        except yaml.YAMLError:
            if make is _LOADERS[-1]:
                raise
    raise AssertionError("there is always a loader")


def _lines(loader: Any, node: Any, place: str, seen: set[int]) -> Iterator[tuple[str, int]]:
    """Every key and every item below a node with its line; below aliases only once.

    Merge keys are replaced by what they merge.

    Raises:
        ConfigError: if a key appears twice in a mapping, or a merge key has no mappings.
    """
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[Hashable] = set()
        own: list[Any] = []
        merged: list[Any] = []
        for key_node, value in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge":
                yield from _lines(loader, value, f"{place}.<<", seen)
                for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if not isinstance(source, yaml.MappingNode):
                        raise ConfigError(
                            [f"line {line}: the key `<<` needs a map, or a list of maps"]
                        )
                    merged = [*source.value, *merged]
                continue
            own.append((key_node, value))
            if isinstance(key_node, yaml.ScalarNode):
                key = loader.construct_object(key_node)
                if key in keys:
                    raise ConfigError([f"line {line}: the key `{key}` appears twice; remove one"])
                keys.add(key)
            name = f"{place}.{key_node.value}" if place else str(key_node.value)
            yield name, line
            yield from _lines(loader, value, name, seen)
        # The mapping's own keys win over merged ones, and earlier sources over later ones.
        node.value = merged + own
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield f"{place}[{index}]", item.start_mark.line + 1
            yield from _lines(loader, item, f"{place}[{index}]", seen)
