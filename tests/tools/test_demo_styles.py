"""The painted styles, measured from outside: what is committed, how rich it is, how they differ."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin
from skimage.color import rgb2lab

from tools.demo_painters.paint import STYLES, encode_jpeg, paint_style, write_styles

COMMITTED = Path(__file__).parents[2] / "config" / "demo" / "styles"
PAIRS = list(combinations(STYLES, 2))
QUICK = {"glass", "marble", "points", "sunset"}


def load(name):
    with Image.open(COMMITTED / f"{name}.jpg") as image:
        return np.asarray(image.convert("RGB"), np.float32) / 255


@pytest.fixture(scope="module")
def pictures():
    return {name: load(name) for name in STYLES}


@pytest.fixture(scope="module")
def small():
    return {name: paint_style(name, 96) for name in STYLES}


# ---- what the painters promise


@pytest.mark.parametrize("name", STYLES)
def test_a_painter_returns_a_picture(small, name):
    style, picture = STYLES[name], small[name]
    assert picture.shape == (round(96 * style.height / style.width), 96, 3)
    assert picture.dtype == np.float32
    assert np.isfinite(picture).all()
    assert picture.min() >= 0
    assert picture.max() <= 1


@pytest.mark.parametrize("name", sorted(QUICK))
def test_the_same_seed_paints_the_same_picture(small, name):
    np.testing.assert_array_equal(paint_style(name, 96), small[name])


@pytest.mark.parametrize("name", ["glass", "sunset"])
def test_another_seed_paints_another_picture(small, name):
    style = STYLES[name]
    other = style.paint(96, small[name].shape[0], style.seed + 1)
    assert np.abs(other - small[name]).mean() > 0.02


@pytest.mark.parametrize("name", ["glass", "marble", "sunset"])
def test_an_upright_picture_can_be_painted(name):
    picture = STYLES[name].paint(64, 96, 3)
    assert picture.shape == (96, 64, 3)
    assert picture.std() > 0.05


@pytest.mark.parametrize("name", ["marble", "points", "sunset"])
def test_a_small_picture_is_the_large_one_seen_from_afar(small, pictures, name):
    rows, columns, _ = small[name].shape
    tiny = (columns // 4, rows // 4)
    assert psnr(shrink(small[name], tiny), shrink(pictures[name], tiny)) > 25


def test_a_picture_too_small_to_paint_is_refused():
    with pytest.raises(ValueError, match="too small"):
        STYLES["night"].paint(4, 4, 0)


# ---- what is committed


def test_every_style_is_committed_and_nothing_else():
    assert {path.name for path in COMMITTED.iterdir()} == {f"{name}.jpg" for name in STYLES}


@pytest.mark.parametrize("name", STYLES)
def test_a_committed_file_is_small_and_keeps_all_its_colour(name):
    path = COMMITTED / f"{name}.jpg"
    assert path.stat().st_size <= 200_000
    with Image.open(path) as image:
        assert image.format == "JPEG"
        assert image.mode == "RGB"
        assert image.size == (STYLES[name].width, STYLES[name].height)
        assert JpegImagePlugin.get_sampling(image) == 0  # 4:4:4


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "glass" else pytest.mark.slow) for name in STYLES],
)
def test_what_is_committed_is_what_the_code_paints(pictures, name):
    # JPEG costs most where the texture is finest; another machine's sine may move a few strokes.
    assert psnr(paint_style(name), pictures[name]) > 26


# ---- a style worth choosing


@pytest.mark.parametrize("name", STYLES)
def test_no_part_of_a_style_is_empty(pictures, name):
    picture = pictures[name]
    rows, columns = picture.shape[0] // 32, picture.shape[1] // 32
    blocks = picture[: rows * 32, : columns * 32].reshape(rows, 32, columns, 32, 3)
    assert blocks.std(axis=(1, 3)).mean(axis=-1).min() > 0.03


@pytest.mark.parametrize("name", STYLES)
def test_a_style_has_texture_at_several_scales(pictures, name):
    """A photograph has as much power in each octave; a flat drawing's or mere noise's share differs."""
    shares = octaves(pictures[name])
    assert (shares > 0.05).sum() >= 5
    assert shares.max() < 0.5


@pytest.mark.parametrize("name", sorted(set(STYLES) - {"ink"}))
def test_a_style_has_many_colours(pictures, name):
    histogram = palette(pictures[name])
    assert (histogram > 0.002).sum() >= 20
    lab = rgb2lab(pictures[name])
    assert np.percentile(lab[..., 0], 95) - np.percentile(lab[..., 0], 5) > 40


def test_the_drawing_is_of_one_ink(pictures):
    """All its hues lie within the browns: a monochrome style beside the colourful ones."""
    lab = rgb2lab(pictures["ink"]).reshape(-1, 3)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    hue = np.degrees(np.arctan2(lab[:, 2], lab[:, 1]))[chroma > 8]
    assert np.percentile(chroma, 99) < 35
    assert np.percentile(hue, 95) - np.percentile(hue, 5) < 50


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_two_styles_differ_in_palette(pictures, first, second):
    """Total variation between colour histograms in CIELAB, 0 (the same) to 1 (no colour shared)."""
    assert distance(palette(pictures[first]), palette(pictures[second])) > 0.4


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_two_styles_differ_in_texture(pictures, first, second):
    """By the directions of their edges or by how power is shared among the octaves."""
    turned = distance(directions(pictures[first]), directions(pictures[second]))
    ratio = np.log2(octaves(pictures[first]) / octaves(pictures[second]))
    assert turned > 0.15 or np.abs(ratio).mean() > 0.25


def test_long_strokes_lie_flat_and_dots_lie_anyhow(pictures):
    """The share of edges within 22.5 degrees of horizontal is what each technique makes it."""
    flat = {name: directions(pictures[name])[13:23].sum() for name in ("sunset", "points")}
    assert flat["sunset"] > 0.5
    assert abs(flat["points"] - 10 / 36) < 0.1


# ---- writing


def test_a_jpeg_is_as_good_as_its_limit_allows(small):
    generous, tight = encode_jpeg(small["points"]), encode_jpeg(small["points"], 9_000)
    assert len(tight) <= 9_000 < len(generous)


def test_a_jpeg_that_cannot_fit_is_an_error(small):
    with pytest.raises(ValueError, match="does not fit 100 bytes"):
        encode_jpeg(small["points"], 100)


def test_the_painted_styles_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr("tools.demo_painters.paint.STYLES", {"glass": STYLES["glass"]})
    monkeypatch.setattr(
        "tools.demo_painters.paint.paint_style", lambda name: np.zeros((8, 8, 3), "f4")
    )
    written = write_styles(tmp_path / "styles")
    assert written == {"glass": tmp_path / "styles" / "glass.jpg"}
    written["glass"].write_bytes(b"mine")
    write_styles(tmp_path / "styles")
    assert written["glass"].read_bytes() != b"mine"


# ---- measures


def psnr(first, second):
    return -10 * np.log10(np.mean((first - second) ** 2))


def shrink(picture, size):
    pixels = Image.fromarray(np.round(picture * 255).astype(np.uint8))
    return np.asarray(pixels.resize(size, Image.Resampling.BOX), np.float32) / 255


def distance(first, second):
    return np.abs(first - second).sum() / 2


def palette(picture):
    """Shares of colours in boxes of CIELAB, (384,)."""
    ranges = ((0, 100), (-80, 80), (-80, 80))
    counts, _ = np.histogramdd(rgb2lab(picture).reshape(-1, 3), bins=(6, 8, 8), range=ranges)
    return (counts / counts.sum()).ravel()


def directions(picture):
    """Shares of gradient directions from 0 to 180 degrees, weighted by magnitude, (36,)."""
    down, right = np.gradient(picture.mean(axis=-1))
    turn = np.arctan2(down, right) % np.pi
    counts, _ = np.histogram(turn, 36, (0, np.pi), weights=np.hypot(down, right))
    return counts / counts.sum()


def octaves(picture):
    """Shares of spectral power in six octaves, from 2-4 to 64-128 pixels a cycle, (6,)."""
    gray = picture.mean(axis=-1)[:400, :400]
    window = np.hanning(400)
    power = np.abs(np.fft.fft2((gray - gray.mean()) * np.outer(window, window))) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(400), np.fft.fftfreq(400)))
    bands = [(frequency >= 2.0**-i) & (frequency < 2.0 ** (1 - i)) for i in range(2, 8)]
    shares = np.array([power[band].sum() for band in bands])
    return shares / shares.sum()
