"""Colours, sizes and transparency through real Snakemake jobs: files of other names, nothing twice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from workbench import Bench

from nstcore.images import decode

pytestmark = pytest.mark.slow

OUTPUT = {"format": "tiff", "bits": 16, "preserve_alpha": True}


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Bench]) -> Bench:
    axes = {"color": ["style", "match_content", "luminance"], "size_by": ["long", "area"]}
    bench = make_bench(1, 1, sweep={"axes": axes}, batch_by=["style", "content"], output=OUTPUT)
    photo = bench.folder / "photos" / "photo1.png"
    with Image.open(photo) as image:
        rgba = np.dstack([np.asarray(image), np.full(image.size[::-1], 255, np.uint8)])
    rgba[:, :30, 3] = 0
    Image.fromarray(rgba).save(photo)
    return bench


def test_a_grid_of_them_is_made_and_made_once(bench: Bench) -> None:
    bench.run()
    records = bench.records()
    assert len(records) == 6
    assert all(record["status"] == "ok" for record in records.values())
    for name in records:
        picture = decode(bench.run_dir / "cells" / f"{name}.tiff")
        assert picture.bits == 16
        assert picture.alpha is not None
        width, height = picture.width, picture.height
        assert (width * height > 64 * 60) == ("size_by=area" in name)
        assert (picture.alpha[:, : width // 3] == 0).all()
        assert (picture.alpha[:, width // 2 :] == 65535).all()
    assert "Nothing to be done" in bench.run()


def test_a_lost_picture_is_linked_again_without_torch(bench: Bench) -> None:
    before = bench.stored()
    next((bench.run_dir / "cells").rglob("color=luminance*.tiff")).unlink()
    bench.run(extra=bench.without_torch())
    assert bench.stored() == before


def test_without_transparency_pictures_are_others(bench: Bench) -> None:
    before = bench.stored()
    bench.write(output={**OUTPUT, "preserve_alpha": False})
    bench.run()
    assert len(bench.stored().keys() - before.keys()) == 6
    for name in bench.records():
        assert decode(bench.run_dir / "cells" / f"{name}.tiff").alpha is None
