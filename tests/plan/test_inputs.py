"""Folders, globs, lists and maps of pictures, and what is wrong with them."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nstcore.config.loader import parse_config
from nstcore.config.strict import ID_PATTERN
from nstcore.errors import ConfigError
from nstcore.plan.inputs import (
    ContentSource,
    StyleSource,
    expand_contents,
    expand_styles,
    make_id,
    natural_key,
)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    names = ["photo10.jpg", "photo2.JPG", "cat.png", "notes.txt", ".hidden.png", "more/dog.webp"]
    for name in names:
        (folder / name).touch()
    (folder / "folder.png").mkdir()
    return folder


def problem(given: object, expand: object = expand_contents) -> str:
    with pytest.raises(ConfigError) as caught:
        expand(given)  # type: ignore[operator]
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


def test_a_folder_means_its_pictures_in_natural_order(photos: Path) -> None:
    expected = {
        "cat": "photos/cat.png",
        "photo2": "photos/photo2.JPG",
        "photo10": "photos/photo10.jpg",
    }
    for spelling in ("photos", "photos/", "./photos"):
        assert list(expand_contents(spelling)) == list(expected)
    assert {n: s.path for n, s in expand_contents("photos").items()} == expected


def test_a_glob(photos: Path) -> None:
    assert list(expand_contents("photos/photo*")) == ["photo2", "photo10"]
    assert list(expand_contents("photos/**/*.webp")) == ["dog"]
    assert list(expand_contents("photos/*")) == ["cat", "photo2", "photo10"]


def test_a_list_keeps_its_order_and_may_mix(photos: Path) -> None:
    assert list(expand_contents(["photos/photo10.jpg", "photos/more", "photos/c*"])) == [
        "photo10",
        "dog",
        "cat",
    ]


def test_a_picture_that_is_meant_twice_counts_once(photos: Path) -> None:
    assert list(expand_contents(["photos/photo10.jpg", "photos"])) == ["photo10", "cat", "photo2"]


def test_a_file_whose_name_looks_like_a_glob(photos: Path) -> None:
    (photos / "[1].png").touch()
    assert expand_contents(["photos/[1].png"]) == {"1": ContentSource("photos/[1].png")}


def test_a_map_keeps_ids_and_order(photos: Path) -> None:
    given = {"z": "photos/cat.png", "a": "photos/photo2.JPG"}
    assert [(n, s.path) for n, s in expand_contents(given).items()] == list(given.items())


def test_a_file_that_is_no_picture_by_its_suffix_can_be_named(photos: Path) -> None:
    (photos / "scan.bmp").touch()
    assert expand_contents("photos/scan.bmp") == {"scan": ContentSource("photos/scan.bmp")}


@pytest.mark.parametrize(
    ("given", "place", "word"),
    [
        ("nowhere", "contents", "nowhere"),
        ("nowhere/*.png", "contents", "matches no image"),
        (["photos", "photos/missing.jpg"], "contents[1]", "missing.jpg"),
        ([], "contents", "empty"),
        ({}, "contents", "empty"),
        ({"cat": "photos/missing.jpg"}, "contents.cat", "missing.jpg"),
        ({"cat": "photos"}, "contents.cat", "folder"),
    ],
)
def test_what_means_no_picture_is_named(photos: Path, given: object, place: str, word: str) -> None:
    line = problem(given)
    assert line.startswith(f"{place}: ")
    assert word in line


def test_an_empty_folder(photos: Path) -> None:
    (photos / "empty").mkdir()
    assert "photos/empty folder has no image" in problem("photos/empty")


def test_two_files_with_one_name(photos: Path) -> None:
    (photos / "more" / "cat.jpg").touch()
    line = problem(["photos", "photos/more"])
    assert "photos/cat.png" in line
    assert "photos/more/cat.jpg" in line
    assert "'cat'" in line


def test_all_that_is_missing_is_named_at_once(photos: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        expand_contents({"a": "x.png", "b": "photos/cat.png", "c": "y.png"})
    assert len(caught.value.problems) == 2
    with pytest.raises(ConfigError) as caught:
        expand_styles({"a": {"x.png": 1, "y.png": 2}, "b": "z.png", "c": []})
    assert [re.split(r"[:\s]", line)[0] for line in caught.value.problems] == [
        "styles.c",
        "styles.a",
        "styles.a",
        "styles.b",
    ]


def test_entries_have_settings_of_their_own(photos: Path) -> None:
    config = parse_config(
        {
            "contents": {"cat": {"path": "photos/cat.png", "settings": {"size": 64}}},
            "styles": {
                "one": {"path": "photos/cat.png", "settings": {"preset": "fast"}},
                "two": {"paths": {"photos/cat.png": 3, "photos/photo2.JPG": 1}},
            },
        }
    )
    assert expand_contents(config.contents) == {
        "cat": ContentSource("photos/cat.png", {"size": 64})
    }
    styles = expand_styles(config.styles)
    assert styles["one"] == StyleSource(("photos/cat.png",), (1.0,), {"preset": "fast"})
    assert styles["two"] == StyleSource(("photos/cat.png", "photos/photo2.JPG"), (0.75, 0.25))


class TestBlends:
    def test_a_single_picture_has_all_the_weight(self, photos: Path) -> None:
        source = expand_styles("photos/cat.png")["cat"]
        assert (source.paths, source.weights) == (("photos/cat.png",), (1.0,))

    def test_a_list_shares_evenly(self, photos: Path) -> None:
        source = expand_styles({"both": ["photos/cat.png", "photos/photo2.JPG"]})["both"]
        assert source.weights == (0.5, 0.5)

    def test_weights_are_shares(self, photos: Path) -> None:
        source = expand_styles({"both": {"photos/cat.png": 3, "photos/photo2.JPG": 1}})["both"]
        assert source.weights == (0.75, 0.25)

    @given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=6))
    def test_shares_of_shares_are_the_same_to_the_last_bit(
        self, tmp_path_factory: pytest.TempPathFactory, weights: list[float]
    ) -> None:
        """A frozen configuration holds shares; its jobs read them again."""
        folder = tmp_path_factory.mktemp("styles")
        files = [str(folder / f"{index}.png") for index in range(len(weights))]
        for file in files:
            Path(file).touch()
        once = expand_styles({"s": dict(zip(files, weights, strict=True))})["s"]
        twice = expand_styles({"s": dict(zip(once.paths, once.weights, strict=True))})["s"]
        assert twice == once
        assert sum(once.weights) == pytest.approx(1)

    def test_a_file_that_stands_twice(self, photos: Path) -> None:
        line = problem({"s": ["photos/cat.png", "photos/cat.png"]}, expand_styles)
        assert line.startswith("styles.s: ")


@given(st.lists(st.text(st.sampled_from("aA019²٣é-. "), max_size=5), unique=True))
def test_the_order_is_the_same_wherever_files_come_from(names: list[str]) -> None:
    paths = [Path(f"x{name}") for name in names]
    ordered = sorted(set(paths), key=natural_key)
    shuffled = list(set(paths))
    random.Random(0).shuffle(shuffled)
    assert sorted(shuffled, key=natural_key) == ordered


def test_numbers_sort_as_numbers() -> None:
    names = ["a1", "a01", "a2", "a10", "a10b2", "a10b10", "b"]
    paths = sorted(map(Path, names), key=natural_key)
    assert [path.name for path in paths] == ["a01", "a1", "a2", "a10", "a10b2", "a10b10", "b"]


@given(st.text())
def test_ids_from_file_names_are_ids(stem: str) -> None:
    name = make_id(stem)
    assert re.fullmatch(ID_PATTERN, name)
    assert len(os.fsencode(name)) <= 100
