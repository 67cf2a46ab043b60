"""The demo's images: photographs of scikit-image, and what the package brings along."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
from PIL import Image

from nstcore.demo import PHOTOS, packaged_demo, write_demo
from nstcore.errors import UserError
from tools.demo_painters.guides import GUIDES
from tools.demo_painters.paint import STYLES


@pytest.fixture
def written(tmp_path: Path) -> list[Path]:
    return write_demo(tmp_path / "demo")


def test_there_are_four_photographs():
    assert set(PHOTOS) >= {"cat", "coffee", "astronaut", "rocket"}


@pytest.mark.parametrize("name", PHOTOS)
def test_a_photograph_is_what_scikit_image_shows(written, name):
    [path] = [path for path in written if path.parent.name == "contents" and path.stem == name]
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(pixels, getattr(skimage.data, name)())


def test_a_photograph_missing_from_the_wheel_is_named(tmp_path, monkeypatch):
    empty = SimpleNamespace(submodule_search_locations=[str(tmp_path / "skimage")])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: empty)
    with pytest.raises(UserError, match=r"chelsea\.png: the demo's photograph is missing"):
        write_demo(tmp_path)


def test_scikit_image_missing_altogether_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install scikit-image"):
        write_demo(tmp_path)


def test_the_whole_demo_is_written_once(written):
    directory = written[-1].parent
    assert all(path.is_file() for path in written)
    assert len(written) == len(PHOTOS) + len(STYLES) + len(GUIDES) + 1
    assert {path.stem for path in (directory / "styles").iterdir()} == set(STYLES)
    assert {path.stem for path in (directory / "guides").iterdir()} == set(GUIDES)
    for path in written:
        path.write_bytes(b"mine")
    assert write_demo(directory) == written
    assert {path.read_bytes() for path in written} == {b"mine"}


def test_styles_and_guides_are_the_packaged_ones(written):
    directory = written[-1].parent
    for path in written:
        if path.parent.name != "contents":
            packaged = packaged_demo() / path.relative_to(directory)
            assert path.read_bytes() == packaged.read_bytes()


def test_the_credits_name_every_image_and_a_licence(written):
    [readme] = [path for path in written if path.name == "README.md"]
    lines = readme.read_text(encoding="utf-8").splitlines()
    for path in written:
        if path != readme:
            name = f"`{path.parent.name}/{path.name}`"
            [line] = [line for line in lines if line.startswith(f"| {name} |")]
            assert line.rstrip(" |").endswith(("MIT", "CC0")) or "public domain" in line
