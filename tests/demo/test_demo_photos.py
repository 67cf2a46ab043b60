"""The demo's photographs and the folder that holds the whole demo."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
from PIL import Image

from nstcore.demo import GUIDES, PHOTOS, credits_text, write_demo, write_photos
from nstcore.demo.paint import STYLES
from nstcore.errors import UserError

DEMO = Path(__file__).parents[2] / "config" / "demo"


def test_there_are_four_photographs():
    assert {"cat", "coffee", "astronaut", "rocket"} <= set(PHOTOS)


@pytest.mark.parametrize("name", PHOTOS)
def test_a_photograph_is_what_scikit_image_shows(tmp_path, name):
    path = write_photos(tmp_path / "contents")[name]
    assert path.stem == name
    with Image.open(path) as image:
        assert image.size == PHOTOS[name].size
        pixels = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(pixels, getattr(skimage.data, name)())


def test_existing_photographs_are_left_alone_when_asked(tmp_path):
    path = write_photos(tmp_path)["cat"]
    path.write_bytes(b"mine")
    write_photos(tmp_path, replace=False)
    assert path.read_bytes() == b"mine"
    write_photos(tmp_path)
    assert path.read_bytes() != b"mine"


def test_a_photograph_missing_from_the_wheel_is_named(tmp_path, monkeypatch):
    empty = SimpleNamespace(submodule_search_locations=[str(tmp_path / "skimage")])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: empty)
    with pytest.raises(UserError, match=r"chelsea\.png: the demo's photograph is missing"):
        write_photos(tmp_path / "contents")


def test_scikit_image_missing_altogether_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install scikit-image"):
        write_photos(tmp_path)


def test_the_whole_demo_is_written_once(tmp_path, monkeypatch):
    monkeypatch.setattr("nstcore.demo.paint.paint_style", lambda name: np.zeros((8, 8, 3), "f4"))
    files = write_demo(tmp_path)
    assert all(path.is_file() for path in files)
    assert len(files) == len(PHOTOS) + len(STYLES) + len(GUIDES) + 1
    assert {path.stem for path in (tmp_path / "styles").iterdir()} == set(STYLES)
    for path in files:
        path.write_bytes(b"mine")
    assert write_demo(tmp_path) == files
    assert {path.read_bytes() for path in files} == {b"mine"}


def test_the_committed_credits_are_current():
    assert (DEMO / "README.md").read_text(encoding="utf-8") == credits_text()


def test_the_credits_name_every_picture_and_a_licence():
    lines = credits_text().splitlines()
    for name in (*PHOTOS, *STYLES):
        (line,) = [x for x in lines if f"contents/{name}." in x or f"styles/{name}." in x]
        assert line.rstrip(" |").endswith(("MIT", "CC0")) or "public domain" in line
