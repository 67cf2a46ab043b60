"""Guides in colours and in layers: what is read, resampled, kept and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from nstcore.errors import ImageError, StoreError
from nstcore.images.masks import (
    Regions,
    check_proportions,
    load_regions,
    read_guide,
    save_regions,
)


def painted(path: Path, *, size: tuple[int, int] = (60, 40), **options: object) -> Path:
    """A guide with a red disc and a green bar on blue."""
    image = Image.new("RGB", size, "#0000ff")
    draw = ImageDraw.Draw(image)
    draw.ellipse((5, 5, 30, 30), fill="#ff0000")
    draw.rectangle((40, 0, 49, size[1]), fill="#00ff00")
    image.save(path, **options)
    return path


def grey(path: Path, values: np.ndarray) -> str:
    Image.fromarray(values).save(path)
    return str(path)


def test_each_flat_colour_is_a_region(tmp_path: Path) -> None:
    path = painted(tmp_path / "guide.png")
    regions = read_guide(str(path))
    assert regions.names == ("#0000ff", "#00ff00", "#ff0000")
    pixels = np.asarray(Image.open(path))
    for name, mask in zip(regions.names, regions.masks, strict=True):
        color = [int(name[i : i + 2], 16) for i in (1, 3, 5)]
        assert (mask == np.where((pixels == color).all(2), 255, 0)).all()
    assert (regions.masks.sum(0, dtype=int) == 255).all()
    assert regions.areas["#00ff00"] == pytest.approx(10 / 60)
    assert sum(regions.areas.values()) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["RGBA", "P", "16 bits"])
def test_how_the_colours_are_stored_does_not_matter(tmp_path: Path, kind: str) -> None:
    import tifffile

    path = painted(tmp_path / "guide.png")
    expected = read_guide(str(path))
    image = Image.open(path)
    if kind == "16 bits":
        path = tmp_path / "guide.tif"
        tifffile.imwrite(path, np.asarray(image).astype(np.uint16) * 257, photometric="rgb")
    else:
        image.convert(kind).save(path)
    assert read_guide(str(path)).digest == expected.digest


def test_a_greyscale_picture_for_each_region(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sky, ground = random.integers(0, 256, (2, 30, 50), dtype=np.uint8)
    guide = {"sky": grey(tmp_path / "s.png", sky), "ground": grey(tmp_path / "g.png", ground)}
    regions = read_guide(guide)
    assert regions.names == ("ground", "sky"), "in one order, however they are given"
    assert (regions.masks == np.stack([ground, sky])).all()
    assert read_guide(dict(reversed(guide.items()))).digest == regions.digest
    assert read_guide({**guide, "sky": guide["ground"]}).digest != regions.digest
    assert Regions(("a", "b"), regions.masks).digest != regions.digest


def test_smaller_masks_are_averages(tmp_path: Path) -> None:
    regions = read_guide(str(painted(tmp_path / "guide.png")))
    found = regions.scaled((12, 8))
    blocks = regions.masks.reshape(3, 8, 5, 12, 5).mean((2, 4)) / 255
    np.testing.assert_allclose(found, blocks, atol=1e-6)
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-6)
    eight = regions.at((12, 8))
    assert np.abs(eight.scaled((12, 8)) - blocks).max() <= 0.5 / 255 + 1e-6
    # Enlarged, borders stay where they are.
    larger = regions.scaled((180, 120))
    assert (larger == np.repeat(np.repeat(regions.masks / 255, 3, 1), 3, 2)).all()
    assert (regions.scaled((60, 40)) == regions.masks / 255).all()


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    regions = read_guide(str(painted(tmp_path / "guide.png")))
    for name in ("1.npz", "2.npz"):
        save_regions(tmp_path / name, regions)
    found = load_regions(tmp_path / "1.npz")
    assert (found.names, found.digest) == (regions.names, regions.digest)
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    (tmp_path / "1.npz").write_bytes((tmp_path / "2.npz").read_bytes()[:-30])
    for name in ("1.npz", "3.npz"):
        with pytest.raises(StoreError, match=f"{name}: is no prepared guide"):
            load_regions(tmp_path / name)


def problem(guide: str | dict[str, str]) -> str:
    with pytest.raises(ImageError) as caught:
        read_guide(guide)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_jpeg_is_refused_with_its_colours(tmp_path: Path) -> None:
    said = problem(str(painted(tmp_path / "guide.jpg", quality=70)))
    assert "guide.jpg: has " in said
    assert "colours (#0000fe" in said
    assert "save it as PNG" in said


def test_single_stray_pixels_are_counted(tmp_path: Path) -> None:
    path = painted(tmp_path / "guide.png")
    image = Image.open(path)
    image.putpixel((0, 0), (0, 0, 250))
    image.putpixel((1, 0), (0, 0, 250))
    image.putpixel((15, 15), (254, 1, 1))
    image.save(path)
    assert problem(str(path)) == (
        f"{path}: 3 pixels are almost of a region's colour: #0000fa (2, near #0000ff), #fe0101 (1, "
        "near #ff0000); paint each region in one flat colour, without smoothing, and save it as PNG"
    )


def test_masks_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    white = np.full((30, 50), 255, np.uint8)
    one = grey(tmp_path / "one.png", white)
    other = grey(tmp_path / "other.png", white[:20])
    assert "other.png: has 50 x 20 px" in problem({"a": one, "b": other})
    black = grey(tmp_path / "black.png", 0 * white)
    assert "black.png: is black everywhere" in problem({"a": one, "b": black})
    assert "guide.png: is coloured" in problem({"a": str(painted(tmp_path / "guide.png"))})
    assert "gone.png: there is no such file" in problem({"a": str(tmp_path / "gone.png")})


@pytest.mark.parametrize(
    ("size", "fits"),
    [
        ((451, 300), True),
        ((902, 600), True),
        ((90, 60), True),
        ((300, 451), False),
        ((451, 310), False),
    ],
)
def test_a_guide_covers_its_picture(size: tuple[int, int], fits: bool) -> None:
    regions = Regions(("a",), np.full((1, size[1], size[0]), 255, np.uint8))
    if fits:
        check_proportions(regions, "cat_guide.png", 451, 300)
        return
    with pytest.raises(ImageError, match=r"cat_guide\.png: has .* px, its image 451 x 300"):
        check_proportions(regions, "cat_guide.png", 451, 300)
