"""The demo's guides fit the demo's pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from nstcore.demo import GUIDES, PHOTOS, write_guides
from nstcore.demo.guides import BACKGROUND, FIGURE
from nstcore.demo.paint import STYLES
from nstcore.images.masks import read_guide


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_has_two_regions_and_the_size_of_its_picture(tmp_path: Path, name: str) -> None:
    regions = read_guide(str(write_guides(tmp_path)[name]))
    assert regions.names == tuple(sorted([FIGURE, BACKGROUND]))
    size = PHOTOS[name].size if name in PHOTOS else (STYLES[name].width, STYLES[name].height)
    assert (regions.width, regions.height) == size
    assert all(0.1 < area < 0.9 for area in regions.areas.values())


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


def test_existing_guides_are_left_alone_when_asked(tmp_path: Path) -> None:
    path = write_guides(tmp_path)["cat"]
    path.write_bytes(b"mine")
    write_guides(tmp_path, replace=False)
    assert path.read_bytes() == b"mine"
