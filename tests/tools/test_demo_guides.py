"""The demo's guides fit the demo's pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nstcore.demo import write_demo
from nstcore.images.masks import read_guide
from tools.demo_painters.guides import BACKGROUND, FIGURE, GUIDES, write_guides

COMMITTED = Path(__file__).parents[2] / "config" / "demo" / "guides"


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_has_two_regions_and_the_size_of_its_image(tmp_path: Path, name: str) -> None:
    regions = read_guide(str(write_guides(tmp_path)[name]))
    assert regions.names == tuple(sorted([FIGURE, BACKGROUND]))
    [image] = [path for path in write_demo(tmp_path / "demo") if path.stem == name][:1]
    with Image.open(image) as opened:
        assert (regions.width, regions.height) == opened.size
    assert all(0.1 < area < 0.9 for area in regions.areas.values())


def test_what_is_committed_is_what_the_code_draws(tmp_path: Path) -> None:
    assert {path.stem for path in COMMITTED.iterdir()} == set(GUIDES)
    for name, path in write_guides(tmp_path).items():
        with Image.open(path) as drawn, Image.open(COMMITTED / f"{name}.png") as committed:
            assert drawn.mode == committed.mode
            assert np.array_equal(np.asarray(drawn), np.asarray(committed))


def test_the_cat_s_face_is_in_one_region_and_the_wall_in_the_other(tmp_path: Path) -> None:
    regions = read_guide(str(write_guides(tmp_path)["cat"]))
    cat = regions.masks[regions.names.index(FIGURE)]
    for x, y in [
        (170, 115),
        (315, 135),
        (265, 240),
        (20, 290),
        (330, 20),
    ]:  # eyes, nose, chest, ear
        assert cat[y, x] == 255
    for x, y in [(430, 20), (440, 290), (5, 5)]:
        assert cat[y, x] == 0
