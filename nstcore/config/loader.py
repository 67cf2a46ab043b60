"""From a mapping to a checked configuration, with every mistake in one message each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from nstcore.config.expressions import FilterExpression
from nstcore.config.inputs import ENTRIES
from nstcore.config.run import Config
from nstcore.config.strict import SettingsSpec, read_setting
from nstcore.config.sweep import (
    BUNDLE,
    INTERVALS,
    RESERVED,
    VALUES,
    BundleValue,
    Interval,
    Log,
    Sweep,
    axis_type,
    listed_values,
    takes_integers,
)
from nstcore.core.metrics import is_metric_name
from nstcore.core.settings import PRESETS, Settings
from nstcore.errors import ConfigError, collect_problems, did_you_mean, raise_problems

_MODELS: dict[str, type[BaseModel]] = {**ENTRIES, **INTERVALS}
"""The models behind tags in pydantic's locations."""


def parse_config(raw: Mapping[str, Any]) -> Config:
    """Check a configuration.

    Raises:
        ConfigError: with one line for every mistake: the key's path, what is wrong, what would be
            right.
    """
    problems: list[str] = []
    config: Config | None = None
    raw = _without_empty_sections(raw)
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
            with collect_problems(problems):
                resolve_settings(config.settings.explicit)
    raise_problems(problems)
    assert config is not None
    return config


Part = TypeVar("Part", bound=BaseModel)


def read_part(model: type[Part], values: Mapping[str, Any], where: str) -> Part:
    """A part of a configuration that has a file of its own.

    Args:
        where: what an error message calls the place.

    Raises:
        ConfigError: one line for every mistake.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = _describe(error, model, values)
        raise ConfigError([f"{where}: {problem}" for problem in problems]) from None


def resolve_settings(explicit: Mapping[str, Any], *, where: str = "settings") -> Settings:
    """All settings: the explicit ones, then those of the preset, then the defaults.

    Args:
        where: what an error message calls the place.

    Raises:
        ConfigError: one line for every mistake.
    """
    try:
        preset = SettingsSpec.model_validate(dict(explicit)).preset
        base = PRESETS[preset] if preset is not None else {}
        own = {key: value for key, value in explicit.items() if key != "preset"}
        return Settings.model_validate({**base, **own})
    except ValidationError as error:
        raise ConfigError(_describe(error, SettingsSpec, dict(explicit), prefix=where)) from None


def _without_empty_sections(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without sections of which every key is commented out."""
    kept = {
        key: value
        for key, value in raw.items()
        if value is not None or _model_at(Config, (key,)) is None
    }
    sweep = kept.get("sweep")
    if isinstance(sweep, Mapping):
        kept["sweep"] = {key: value for key, value in sweep.items() if value is not None}
    return kept


# --- Checks of several keys against each other. ---


def _check_axes(axes: Mapping[Any, Any]) -> Iterator[str]:
    """Each axis names a setting, and each of its values is valid by itself."""
    for name, spec in axes.items():
        where, kind = f"sweep.axes.{name}", axis_type(spec)
        is_setting = name in SettingsSpec.model_fields
        if kind == BUNDLE and is_setting:
            yield (
                f"{where}: is a setting and needs a list of values or a range; a bundle of "
                "settings needs another name"
            )
        elif kind == BUNDLE and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", str(name)) is None:
            yield f"{where}: a bundle's name may have letters, digits and _ only"
        elif kind == BUNDLE and (name in RESERVED or is_metric_name(str(name))):
            yield f"{where}: is a reserved name; choose another one"
        elif kind != BUNDLE and not is_setting:
            yield f"{where}: unknown setting; {did_you_mean(name, SettingsSpec.model_fields)}"
        elif kind == VALUES:
            for index, value in enumerate(spec if isinstance(spec, list) else []):
                yield from _value_problems(f"{where}[{index}]", name, value)
        elif kind != BUNDLE:
            yield from _interval_problems(where, name, kind, spec)


def _interval_problems(where: str, name: str, kind: str, spec: Any) -> list[str]:
    """What is wrong with the first value of an interval that the setting cannot have."""
    try:
        interval = INTERVALS[kind].model_validate(spec)
    except ValidationError:
        return []  # is described already
    values: Sequence[Any] = interval.values(integer=takes_integers(name)) or interval.bounds
    found = (list(_value_problems(where, name, value)) for value in values)
    return next(filter(None, found), [])


def _value_problems(where: str, name: str, value: Any) -> Iterator[str]:
    try:
        read_setting(name, value)
    except ValidationError as error:
        yield from (f"{where}: {_message(detail)}" for detail in error.errors())


def _check_sweep(config: Config) -> Iterator[str]:
    """Everything beside the axes fits the axes; whether it matches any cell is up to the plan."""
    sweep, snapshots = config.sweep, config.snapshots
    for name, setters in sweep.setters().items():
        if len(setters) > 1:
            yield (
                f"sweep.axes.{setters[1]}: sets `{name}`, which `{setters[0]}` sets too; remove it "
                "from one of them"
            )
    continuous = {
        name
        for name, spec in sweep.axes.items()
        if isinstance(spec, Interval) and spec.count is None
    }
    yield from _check_zip(sweep, continuous)
    axes = ["style", "content", *sweep.axes, "seed"]
    for place in ("exclude", "include"):
        for index, partial in enumerate(getattr(sweep, place)):
            for name in partial:
                if name not in axes:
                    yield _unknown_axis(f"sweep.{place}[{index}].{name}", name, axes)
    sample = sweep.sample
    for index, name in enumerate((sample.axes or []) if sample else ()):
        if name not in axes:
            yield _unknown_axis(f"sweep.sample.axes[{index}]", name, axes)
    sampled = (sample.axes or continuous) if sample else ()
    for name in sweep.axes:
        if name in continuous and name not in sampled:
            step = "`num`" if isinstance(sweep.axes[name], Log) else "`step` or `num`"
            yield f"sweep.axes.{name}: give {step}, or let `sweep.sample` draw from it"
    conditions = {
        "sweep.where": sweep.where,
        "snapshots.where": None if snapshots is None else snapshots.where,
    }
    for where, condition in conditions.items():
        try:
            if condition is not None:
                FilterExpression(condition, [*axes, *Settings.model_fields])
        except ValueError as error:
            yield f"{where}: {error}"


def _check_zip(sweep: Sweep, continuous: set[str]) -> Iterator[str]:
    zipped: set[str] = set()
    for index, names in enumerate(sweep.zip):
        where = f"sweep.zip[{index}]"
        unknown = [name for name in names if name not in sweep.axes]
        if unknown:
            yield _unknown_axis(where, unknown[0], list(sweep.axes))
            continue
        twice = [name for name in names if names.count(name) > 1 or name in zipped]
        zipped |= set(names)
        if twice:
            yield f"{where}: `{twice[0]}` appears twice; remove one"
            continue
        counts = {name: len(listed_values(name, sweep.axes[name])) for name in names}
        bundles = [name for name in names if isinstance(sweep.axes[name], dict)]
        if bundles:
            yield (
                f"{where}: the values of the bundle `{bundles[0]}` have no order; add the other axes' "
                "settings to the bundle instead"
            )
        elif continuous & set(names):
            yield f"{where}: `{min(continuous & set(names))}` has no list of values to zip"
        elif len(set(counts.values())) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in counts.items())
            yield f"{where}: all axes need equally many values, not {listed}"


def _unknown_axis(where: str, name: str, axes: list[str]) -> str:
    return f"{where}: unknown axis `{name}`; {did_you_mean(name, axes)}"


def _check_names(config: Config) -> Iterator[str]:
    """Axes for batches and for the layout exist and are used once."""
    report, axes = config.report, ["style", "content", *config.sweep.axes, "seed"]
    layout = {"rows": report.rows or [], "cols": report.cols or [], "pages": report.pages or []}
    lists = {f"report.{place}": names for place, names in layout.items()}
    for where, names in {"batch_by": config.batch_by, **lists}.items():
        for name in names:
            if name not in axes:
                yield f"{where}: unknown axis `{name}`; choose from: {', '.join(axes)}"
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"{where}: `{name}` appears twice; remove one"
    placed = [name for names in layout.values() for name in names]
    for name in dict.fromkeys(placed):
        if placed.count(name) > 1:
            yield f"report: `{name}` can be in one of rows, cols and pages, not in two of them"
    seeds = config.sweep.seed_list
    if len(set(seeds)) < len(seeds):
        yield "sweep.seeds: a seed appears twice; remove one"
    for name in config.sweep.axes:
        if name in config.settings.model_fields_set and name != "preset":
            yield f"sweep.axes.{name}: is in `settings` too; remove it from one of the two"


# --- From pydantic's errors to messages. ---


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
            meant = f"; {did_you_mean(name, owner.model_fields)}" if owner else ""
            message = f"unknown key{meant}"
        else:
            message = _message(detail)
        found.setdefault(where, []).append(message)
    # A value that fits none of several types is reported once for each type, and again for what is
    # wrong inside it: only the innermost place counts, and there the types are alternatives.
    outer = {where[: end.start()] for where in found for end in re.finditer(r"[.\[]", where)}
    return [
        f"{where}: {_either(messages)}" if where else _either(messages)
        for where, messages in found.items()
        if where not in outer
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
        return f"the key {shown} is no text in YAML; put it in quotes"
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
    """The model of the part of the configuration at a location of pydantic's, if there is one."""
    # In front of an entry are names of types and ids, which are no fields.
    if BUNDLE in location:
        return BundleValue
    start = max((n for n, part in enumerate(location) if part in _MODELS), default=None)
    current: type[BaseModel] | None = model if start is None else _MODELS[str(location[start])]
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
