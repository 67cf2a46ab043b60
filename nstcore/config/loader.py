"""From a YAML file to a checked configuration, with every mistake named at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from nstcore.config.filter_expression import FilterExpression
from nstcore.config.inputs import ENTRIES
from nstcore.config.run import Config
from nstcore.config.strict import SettingsSpec, read_setting
from nstcore.config.sweep import (
    BUNDLE,
    KINDS,
    RESERVED,
    VALUES,
    BundleValue,
    Interval,
    axis_kind,
    is_whole,
    values_of,
)
from nstcore.core.metrics import is_metric_name
from nstcore.core.presets import PRESETS
from nstcore.core.settings import Settings
from nstcore.errors import ConfigError

_TAGGED: dict[str, type[BaseModel]] = {**ENTRIES, **KINDS}
"""The models behind tags in pydantic's locations."""


class _Loader(yaml.SafeLoader):
    """YAML in which a repeated key is an error and ``1e3`` is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    line = key_node.start_mark.line + 1
                    raise ConfigError([f"line {line}: the key `{key}` stands twice; keep one"])
                seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Puts quotes round what :class:`_Loader` would read as something else than text."""


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
        list("-+.0123456789"),
    )


def read_value(text: str) -> Any:
    """One value, read as it would be in the configuration.

    Raises:
        ConfigError: if it is no YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        raise ConfigError([f"{text!r} is no value"]) from None


def dump_yaml(values: Mapping[str, Any]) -> str:
    """YAML from which :func:`read_yaml` reads the same values."""
    text: str = yaml.dump(
        dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )
    return text


class Document(dict[str, Any]):
    """The mapping in a YAML file, which still knows where its keys stand.

    Attributes:
        path: the file.
        lines: key as messages spell it, such as ``sweep.exclude[0].style`` -> line, from 1.
    """

    def __init__(self, values: Mapping[str, Any], path: Path, lines: Mapping[str, int]) -> None:
        super().__init__(values)
        self.path = path
        self.lines = lines


def located(error: ConfigError, raw: Mapping[str, Any]) -> ConfigError:
    """The same mistakes, each with its line, where the configuration comes from a YAML file.

    Args:
        error: with problems that begin with the key they are about.
        raw: what :func:`read_yaml` read, or any mapping, to which nothing can be added.
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


def _lines(node: yaml.Node, place: str, seen: set[int]) -> Iterator[tuple[str, int]]:
    """Every key and every item below a node, with its line; what aliases repeat only once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{place}.{key.value}" if place else str(key.value)
            yield name, key.start_mark.line + 1
            yield from _lines(value, name, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield f"{place}[{index}]", item.start_mark.line + 1
            yield from _lines(item, f"{place}[{index}]", seen)


def read_yaml(path: Path | str) -> Document:
    """The mapping in a YAML file.

    Raises:
        ConfigError: if there is no such file, it is no valid YAML, or it holds no mapping.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError([f"{path}: there is no such file"]) from None
    except IsADirectoryError:
        raise ConfigError([f"{path}: is a folder; give a YAML file"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not a text file in UTF-8"]) from None
    try:
        value = yaml.load(text, Loader=_Loader)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "is not valid YAML"
        raise ConfigError([f"{path}{where}: {problem}"]) from None
    except ConfigError as error:
        raise ConfigError([f"{path}, {problem}" for problem in error.problems]) from None
    if not isinstance(value, dict):
        raise ConfigError([f"{path}: must hold keys and values, such as `contents: photos/`"])
    return Document(value, path, dict(_lines(node, "", set())) if node is not None else {})


def parse_config(raw: Mapping[str, Any]) -> Config:
    """Check a configuration.

    Raises:
        ConfigError: with one line for every mistake: the key's path, what is wrong, what would be
            right.
    """
    problems: list[str] = []
    config: Config | None = None
    raw = _without_empty(raw)
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems += _describe(error, Config, raw)
    axes = raw["sweep"].get("axes") if isinstance(raw.get("sweep"), Mapping) else None
    if isinstance(axes, Mapping):
        problems += _check_axes(axes)
    if config is not None and not problems:
        problems += [*_check_names(config), *_check_sweep(config)]
        if not config.sweep.axes:
            try:
                resolve_settings(config.settings.explicit)
            except ConfigError as error:
                problems += error.problems
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    assert config is not None
    return config


Part = TypeVar("Part", bound=BaseModel)


def read_part(model: type[Part], given: Mapping[str, Any], where: str) -> Part:
    """A part of a configuration that stands in a file of its own.

    Args:
        model: of the part.
        given: its keys.
        where: how to call the place in an error message.

    Raises:
        ConfigError: one line for every mistake.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problems = _describe(error, model, given)
        raise ConfigError([f"{where}: {problem}" for problem in problems]) from None


def resolve_settings(given: Mapping[str, Any], *, where: str = "settings") -> Settings:
    """Settings from what was given: the preset's values below, the defaults at the bottom.

    Args:
        given: setting -> value, among them perhaps ``preset``.
        where: how to call the place in an error message.

    Raises:
        ConfigError: one line for every mistake.
    """
    try:
        own = SettingsSpec.model_validate(dict(given))
        base = PRESETS[own.preset] if own.preset is not None else {}
        values = {**base, **{key: value for key, value in given.items() if key != "preset"}}
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_describe(error, SettingsSpec, dict(given), prefix=where)) from None


def _without_empty(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without sections under which every key is commented out."""
    kept = {key: value for key, value in raw.items() if value is not None or not _is_section(key)}
    sweep = kept.get("sweep")
    if isinstance(sweep, Mapping):
        kept["sweep"] = {key: value for key, value in sweep.items() if value is not None}
    return kept


def _is_section(key: Any) -> bool:
    return _model_at(Config, (key,)) is not None


def _check_axes(axes: Mapping[Any, Any]) -> list[str]:
    """Each axis names a setting, and each of its values is valid by itself."""
    problems: list[str] = []
    for name, given in axes.items():
        where = f"sweep.axes.{name}"
        kind = axis_kind(given)
        known = name in SettingsSpec.model_fields
        if kind == BUNDLE:
            if known:
                problems.append(
                    f"{where}: is a setting and needs a list of values or a range; a bundle of "
                    "settings has another name"
                )
            elif re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", str(name)) is None:
                problems.append(f"{where}: a bundle's name has letters, digits and _ only")
            elif name in RESERVED or is_metric_name(str(name)):
                problems.append(f"{where}: is the name of something else; choose another one")
            continue
        if not known:
            problems.append(f"{where}: unknown setting{_suggest(str(name), SettingsSpec)}")
            continue
        if kind == VALUES:
            values = given if isinstance(given, list) else []
        else:
            try:
                interval = KINDS[kind].model_validate(given)
            except ValidationError:
                continue  # is described already
            assert isinstance(interval, Interval)
            values = interval.values(whole=is_whole(name)) or list(interval.ends)
        for index, value in enumerate(values):
            try:
                read_setting(name, value)
            except ValidationError as error:
                place = f"{where}[{index}]" if kind == VALUES else where
                problems += [f"{place}: {_message(detail)}" for detail in error.errors()]
                if kind != VALUES:
                    break
    return problems


def _check_sweep(config: Config) -> list[str]:
    """What stands beside the axes fits them; whether it meets any cell is the plan's to say."""
    sweep = config.sweep
    problems: list[str] = []
    for name, axes in sweep.setters().items():
        if len(axes) > 1:
            problems.append(
                f"sweep.axes.{axes[1]}: sets `{name}`, which `{axes[0]}` sets too; remove it from one"
            )
    drawn = {
        name for name, given in sweep.axes.items() if isinstance(given, Interval) and given.drawn
    }
    zipped: set[str] = set()
    for index, names in enumerate(sweep.zip):
        where = f"sweep.zip[{index}]"
        unknown = [name for name in names if name not in sweep.axes]
        if unknown:
            problems.append(_no_axis(where, unknown[0], list(sweep.axes)))
            continue
        twice = [name for name in names if names.count(name) > 1 or name in zipped]
        zipped |= set(names)
        if twice:
            problems.append(f"{where}: `{twice[0]}` stands twice; keep one")
            continue
        counts = {name: len(values_of(name, sweep.axes[name])) for name in names}
        bundles = [name for name in names if isinstance(sweep.axes[name], dict)]
        if bundles:
            problems.append(
                f"{where}: the values of the bundle `{bundles[0]}` have no order; give the others' "
                "settings to the bundle instead"
            )
        elif drawn & set(names):
            problems.append(f"{where}: `{min(drawn & set(names))}` has no list of values to zip")
        elif len(set(counts.values())) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in counts.items())
            problems.append(f"{where}: needs equally many values of each, not {listed}")
    axes = ["style", "content", *sweep.axes, "seed"]
    for place in ("exclude", "include"):
        for index, partial in enumerate(getattr(sweep, place)):
            for name in partial:
                if name not in axes:
                    problems.append(_no_axis(f"sweep.{place}[{index}].{name}", name, axes))
    sample = sweep.sample
    for index, name in enumerate(sample.axes or [] if sample else []):
        if name not in axes:
            problems.append(_no_axis(f"sweep.sample.axes[{index}]", name, axes))
    kept = drawn - set(sample.axes or drawn) if sample else drawn
    for name in sweep.axes:
        if name in kept:
            given = sweep.axes[name]
            step = "`num`" if KINDS["<log>"] is type(given) else "`step` or `num`"
            problems.append(f"sweep.axes.{name}: give {step}, or let `sweep.sample` draw from it")
    if sweep.where is not None:
        try:
            FilterExpression(sweep.where, [*axes, *Settings.model_fields])
        except ValueError as error:
            problems.append(f"sweep.where: {error}")
    return problems


def _no_axis(where: str, name: str, axes: list[str]) -> str:
    close = difflib.get_close_matches(name, axes, n=1)
    meant = f"did you mean `{close[0]}`?" if close else f"there are: {', '.join(axes) or 'none'}"
    return f"{where}: there is no axis `{name}`; {meant}"


def _check_names(config: Config) -> list[str]:
    """Layout and batch axes exist and are used once."""
    problems: list[str] = []
    axes = ["style", "content", *config.sweep.axes, "seed"]
    for where, names in (
        ("batch_by", config.batch_by),
        ("report.rows", config.report.rows or []),
        ("report.cols", config.report.cols or []),
        ("report.pages", config.report.pages or []),
    ):
        for name in names:
            if name not in axes:
                problems.append(f"{where}: there is no axis `{name}`; there are: {', '.join(axes)}")
        repeated = {name for name in names if names.count(name) > 1}
        problems += [f"{where}: `{name}` stands twice; keep one" for name in sorted(repeated)]
    report = config.report
    placed = [*(report.rows or []), *(report.cols or []), *(report.pages or [])]
    for name in dict.fromkeys(placed):
        if placed.count(name) > 1:
            problems.append(
                f"report: `{name}` may be on rows, on cols or on pages, not on two of them"
            )
    seeds = config.sweep.seed_list
    if len(set(seeds)) < len(seeds):
        problems.append("sweep.seeds: a seed stands twice; keep one")
    for name in config.sweep.axes:
        if name in config.settings.model_fields_set and name != "preset":
            problems.append(
                f"sweep.axes.{name}: stands in `settings` too; remove it from one of the two"
            )
    return problems


def _describe(
    error: ValidationError, model: type[BaseModel], raw: Any, prefix: str = ""
) -> list[str]:
    """One line for each mistake that pydantic found."""
    found: dict[str, list[str]] = {}
    for detail in error.errors():
        where = _path(detail, raw)
        if prefix:
            where = f"{prefix}.{where}" if where else prefix
        if detail["type"] == "extra_forbidden":
            owner = _model_at(model, detail["loc"][:-1])
            name = str(detail["loc"][-1])
            message = f"unknown key{_suggest(name, owner) if owner else ''}"
        else:
            message = _message(detail)
        found.setdefault(where, []).append(message)
    # A value that fits none of several types is reported once for each type, and what is wrong
    # inside it beside that: only the innermost place counts, and there the types are alternatives.
    return [
        f"{where}: {_either(messages)}" if where else _either(messages)
        for where, messages in found.items()
        if not any(other.startswith((f"{where}.", f"{where}[")) for other in found if where)
    ]


def _either(messages: list[str]) -> str:
    """``should be a valid string or a valid list, not 5`` from one message for each type."""
    kinds = [re.fullmatch(r"input should be (a valid .+?)(, not .+)", text) for text in messages]
    if len(messages) == 1 or not all(kinds):
        return messages[0]
    names = list(dict.fromkeys(kind[1] for kind in kinds if kind))
    ending = kinds[0][2] if kinds[0] else ""
    return f"should be {' or '.join(names)}{ending}"


def _message(detail: Any) -> str:
    text = str(detail["msg"]).removeprefix("Value error, ")
    text = text[:1].lower() + text[1:]
    shown = repr(detail.get("input"))
    if detail["type"] == "missing":
        return "is missing"
    if detail["loc"][-1:] == ("[key]",) and not isinstance(detail["input"], str):
        return f"the key {shown} is not read as text; put it in quotes"
    if detail["type"] == "value_error":
        return text
    return f"{text}, not {shown if len(shown) <= 60 else shown[:57] + '...'}"


def _path(detail: Any, raw: Any) -> str:
    """``sweep.axes.size[2]`` from pydantic's location, without the names of union members."""
    location: tuple[int | str, ...] = detail["loc"]
    words = ""
    current = raw
    for part in location:
        if isinstance(current, Mapping) and part in current:
            current = current[part]
            words += f".{part}"
        elif isinstance(current, list) and isinstance(part, int) and part < len(current):
            current = current[part]
            words += f"[{part}]"
        elif detail["type"] == "missing" and part == location[-1]:
            words += f".{part}"
    return words.lstrip(".")


def _model_at(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel] | None:
    # Before an entry stand names of types and ids, which lead nowhere.
    if BUNDLE in location:
        return BundleValue
    start = max((n for n, part in enumerate(location) if part in _TAGGED), default=None)
    current: type[BaseModel] | None = model if start is None else _TAGGED[str(location[start])]
    for part in location if start is None else location[start + 1 :]:
        field = current.model_fields.get(str(part)) if current else None
        annotation = field.annotation if field else None
        # A section that may be left out is a model or None.
        models = [
            kind
            for kind in (annotation, *get_args(annotation))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        current = models[0] if len(models) == 1 else None
    return current


def _suggest(name: str, model: type[BaseModel]) -> str:
    known = list(model.model_fields)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean `{close[0]}`?"
    return f"; there are: {', '.join(known)}"
