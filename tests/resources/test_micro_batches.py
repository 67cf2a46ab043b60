"""Which images are optimized together."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from nstcore.core.settings import PER_IMAGE, Settings
from nstcore.resources.memory_model import (
    MEMORY_SHARE,
    BatchInput,
    MicroBatch,
    log_shortage,
    peak_bytes,
    split_batches,
)

PLENTY = 1e12
SIZE = (128, 96)


def split(*inputs: BatchInput, free: float = PLENTY, **options: Any) -> list[MicroBatch[int]]:
    """Indices of the inputs, in batches."""
    return list(split_batches(range(len(inputs)), inputs.__getitem__, "cpu", free, **options))


def like(size: tuple[int, int] = SIZE, weights: str = "w", **given: Any) -> BatchInput:
    return BatchInput(Settings(**given), size, weights)


def test_images_that_differ_only_in_their_own_weights_go_together() -> None:
    plain = Settings()
    others = [like(**{name: 1.5 * (getattr(plain, name) or 1.0)}) for name in PER_IMAGE]
    (batch,) = split(like(), *others, like(color_match="pca"), like(region_weights={"sky": 2}))
    assert batch.items == tuple(range(len(PER_IMAGE) + 3))


def test_what_shapes_the_computation_does_not_go_together() -> None:
    regions = BatchInput(Settings(), SIZE, "w", ("sky", "sea"))
    inputs = (like(), like((96, 128)), like(weights="v"), like(iterations=7), regions, like())
    assert [batch.items for batch in split(*inputs)] == [(0, 5), (1,), (2,), (3,), (4,)]


def test_a_group_is_divided_into_what_fits() -> None:
    free = peak_bytes(Settings(), *SIZE, 2) / MEMORY_SHARE + 1
    assert [batch.items for batch in split(*[like()] * 5, free=free)] == [(0, 1), (2, 3), (4,)]
    assert [batch.items for batch in split(*[like()] * 5, most=3)] == [(0, 1, 2), (3, 4)]
    assert {batch.tile for batch in split(*[like()] * 5, tile=64)} == {64}


def test_after_a_failure_half_as_many_are_tried_and_then_one_with_less_memory() -> None:
    (batch,) = split(*[like()] * 3)
    one, two = batch.smaller(out_of_memory=True)
    assert (one.items, two.items) == ((0,), (1, 2))
    assert one.smaller(out_of_memory=False) == []
    (less,) = one.smaller(out_of_memory=True)
    assert (less.items, less.history) == ((0,), 5)
    assert less.smaller(out_of_memory=True) == []


def test_what_too_little_memory_changes_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    large = BatchInput(Settings(size=4096, pyramid_start=4096), (4096, 4096), "w")
    free = peak_bytes(large.settings, 4096, 4096, 1, tile=512) / MEMORY_SHARE + 1
    with caplog.at_level(logging.INFO):
        log_shortage(split(like(), large, large, free=free), free)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "4096 x 4096 px: 1 image at a time, history 10 in tiles of 512 px" in caplog.text
    log_shortage(split(large, free=1e6), 1e6)
    assert caplog.records[-1].levelname == "WARNING"
    assert "1 MB are free" in caplog.text
