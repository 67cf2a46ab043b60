"""The checked-in JSON Schema is current and agrees with the model."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from nstcore.config.loader import parse_config
from nstcore.config.run import Config, schema, schema_text
from nstcore.config.yaml_files import read_yaml
from nstcore.core.settings import Settings
from nstcore.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
FULL: dict[str, Any] = {
    "run": "full",
    "contents": {
        "cat": "cat.png",
        "dog": {"path": "dog.png", "settings": {"size": 96}},
        "fox": {"path": "fox.png", "guide": {"head": "head.png", "tail": "tail.png"}},
    },
    "styles": {
        "night": "night.png",
        "both": {"a.png": 1, "b.png": 0.5},
        "two": ["a.png", "b.png"],
        "wave": {"path": "wave.png", "settings": {"style_scale": 2}},
        "dusk": {"paths": {"a.png": 2, "b.png": 1}},
        "dawn": {"paths": ["a.png", "b.png"], "settings": {"preset": "fast"}},
        "sky": {"path": "a.png", "guide": "guide.png"},
        "each": {
            "regions": {
                "#ff0000": "a.png",
                "#0000FF": {"a.png": 1, "b.png": 2},
                "sky": {"path": "a.png", "guide": {"sky": "sky.png"}},
            }
        },
    },
    "settings": {
        "preset": "gatys",
        "size": 64,
        "style_layers": {"relu1_1": 1},
        "iterations": [2, 1],
        "region_weights": {"#ff0000": 2, "sky": 0},
    },
    "sweep": {
        "axes": {
            "style_weight": {"log": [1, 100], "num": 3},
            "content_weight": {"uniform": [1, 2]},
            "tv_weight": {"range": [0, 0.3], "step": 0.1},
            "style_scale": [1, 2],
            "history": [5, 10],
            "look": {"soft": {"title": "Soft", "pooling": "avg"}, "plain": {}},
        },
        "zip": [["style_scale", "history"]],
        "exclude": [{"style": "night", "tv_weight": 0}],
        "include": [{"style_weight": 5000, "content_weight": 1, "content": "cat"}],
        "where": "style_weight <= 50 or tv_weight > 0",
        "sample": {"method": "lhs", "n": 5, "axes": ["content_weight", "style"]},
        "seeds": [3, 4],
    },
    "batch_by": ["style"],
    "output": {"format": "png", "bits": 16},
    "evaluation": {"size": 64},
    "report": {"rows": ["content"], "thumbnail": 64, "single_file": True},
}


def accepts(raw: dict[str, Any]) -> bool:
    return jsonschema.Draft202012Validator(schema()).is_valid(raw)


def test_the_file_is_current() -> None:
    file = ROOT / "workflow" / "schemas" / "config.schema.json"
    assert file.read_text(encoding="utf-8") == schema_text(), "write it with: make docs"


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def test_it_describes_every_key() -> None:
    for name, described in schema()["properties"].items():
        assert described.get("description"), name
    settings = schema()["$defs"]["SettingsSpec"]["properties"]
    assert set(settings) == {*Settings.model_fields, "preset"}
    for name, field in Settings.model_fields.items():
        assert settings[name]["default"] == Settings().model_dump(mode="json")[name], name
        assert settings[name]["description"] == field.description


def test_it_accepts_what_the_model_accepts() -> None:
    assert accepts(FULL)
    parse_config(FULL)


@pytest.mark.parametrize("path", sorted(ROOT.glob("config/**/*.yaml")), ids=lambda path: path.name)
def test_it_accepts_the_configurations_that_are_shipped(path: Path) -> None:
    raw = read_yaml(path)
    jsonschema.validate(raw, schema())
    parse_config(raw)


@pytest.mark.parametrize(
    "section",
    [(), ("settings",), ("sweep",), ("sweep", "sample"), ("output",), ("evaluation",), ("report",)],
)
def test_unknown_keys_are_rejected_everywhere(section: tuple[str, ...]) -> None:
    raw = copy.deepcopy(FULL)
    owner = raw
    for name in section:
        owner = owner[name]
    owner["unheard_of"] = 1
    assert not accepts(raw)
    with pytest.raises(ConfigError):
        parse_config(raw)


@pytest.mark.parametrize(
    "change",
    [
        {"run": "a/b"},
        {"contents": 5},
        {"settings": {"size": 3}},
        {"settings": {"optimizer": "sgd"}},
        {"sweep": {"seeds": 0}},
        {"sweep": {"axes": {"size": []}}},
        {"sweep": {"axes": {"size": {"range": [1]}}}},
        {"sweep": {"axes": {"look": {"a": {"siz": 64}}}}},
        {"sweep": {"zip": [["a"]]}},
        {"sweep": {"sample": {"method": "grid", "n": 3}}},
        {"contents": {"a": {"settings": {}}}},
        {"styles": {"a": {"paths": {"x.png": 0}}}},
        {"output": {"bits": 12}},
        {"max_cells_per_batch": 0},
    ],
)
def test_wrong_values_are_rejected_by_both(change: dict[str, Any]) -> None:
    raw = {**FULL, **change}
    assert not accepts(raw)
    with pytest.raises(ConfigError):
        parse_config(raw)


def test_every_default_of_the_model_is_valid() -> None:
    config = Config(contents="a", styles="b")
    assert parse_config(config.model_dump()) == config
