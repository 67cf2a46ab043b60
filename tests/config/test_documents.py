"""What is written down twice says the same: the reference, the environment, the examples."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from nstcore.config.loader import parse_config
from nstcore.config.yaml_files import read_yaml
from nstcore.core.settings import Settings
from tools.write_docs import reference_text

ROOT = Path(__file__).resolve().parents[2]
OTHER_NAMES = {"pytorch": "torch"}


def test_the_reference_is_current() -> None:
    assert (ROOT / "config" / "README.md").read_text() == reference_text(), "run: make docs"


def test_the_reference_has_every_setting_once() -> None:
    text = reference_text()
    for name in Settings.model_fields:
        assert len(re.findall(rf"^\| `{name}` \|", text, re.M)) == 1, name


def test_conda_and_pip_install_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    wanted = {word.split(">=")[0]: word.split(">=")[1] for word in project["dependencies"]}
    wanted["python"] = project["requires-python"].removeprefix(">=")
    found = {}
    for entry in environment["dependencies"]:
        name, _, version = entry.partition(" >=")
        found[OTHER_NAMES.get(name, name)] = version
    found.pop("pip")
    assert found == wanted


EXAMPLES = sorted((ROOT / "config" / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_configuration(path: Path) -> None:
    config = parse_config(read_yaml(path))
    assert config.run == path.stem
    assert f"nst run config/examples/{path.name}" in path.read_text(), "it says how to run it"
