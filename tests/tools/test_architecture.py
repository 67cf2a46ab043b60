"""The diagram of the architecture: what it reads from imports, and what it leaves out."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tools.draw_architecture import (
    OUTPUT,
    ROOT,
    arrows,
    draw_architecture,
    files_of,
    imports_of,
    layers,
    reduced,
)


def test_imports_are_found_wherever_they_are(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        "import torch, nstcore.images.png\nfrom nstcore import demo, jobs\n"
        "def f():\n    from nstcore.store.files import write_text\n"
        "from . import sibling\nimport nstcore\n"
    )
    assert set(imports_of(file)) == {"images", "demo", "jobs", "store"}


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    graph = {"a": {"b", "c"}, "b": {"c"}, "c": set()}
    assert reduced(graph) == {"a": {"b"}, "b": {"c"}, "c": set()}


def test_a_circle_keeps_its_arrows() -> None:
    graph = {"a": {"b", "c"}, "b": {"a", "c"}, "c": set()}
    assert reduced(graph)["a"] >= {"b"}
    assert reduced(graph)["b"] >= {"a"}
    assert "c" in reduced(graph)["a"] | reduced(graph)["b"]


def test_every_package_and_module_has_a_box() -> None:
    names = layers()
    assert all(file.is_file() for name in names for file in files_of(name))
    drawn = ElementTree.fromstring(draw_architecture())
    titles = {element.text for element in drawn.iter() if element.get("class") == "name"}
    assert {str(title).removesuffix("/").removesuffix(".py") for title in titles} == set(names)
    assert "core" in arrows(names)["jobs"]


def test_the_diagram_is_current() -> None:
    assert OUTPUT.read_text(encoding="utf-8") == draw_architecture(), "write it with: make docs"


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/**/*.md")), ids=lambda page: page.stem)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(
        r"`((?:nstcore|tools|workflow|benchmarks|profiles)/[\w/.]*)`", page.read_text()
    )
    missing = [name for name in named if not (ROOT / name).exists()]
    assert missing == []
