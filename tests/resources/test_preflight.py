"""Each warning before a run is made to happen, and what it advises is followed until it is gone."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch
from plans import make_plan

from nstcore.core.encoders import EVAL_STYLE_LAYERS, VGG19
from nstcore.core.encoders.compact import load_compact
from nstcore.core.settings import Settings
from nstcore.errors import ImageError, ImageTooSmall
from nstcore.images import decode, fit_size
from nstcore.images.image import megapixels_problem
from nstcore.resources.estimate import InputSizes, Machine, estimate_batch, missing_weights
from nstcore.resources.memory_model import peak_bytes
from nstcore.resources.preflight import (
    Disk,
    existing,
    long_names,
    too_little_disk,
    too_little_memory,
    too_many_pixels,
    too_narrow,
)

NOTHING = Disk(0, 0, 0, 0, 0)


def advised(line: str) -> int:
    """The last number of a line."""
    return int(re.findall(r"\d+", line)[-1])


def test_pixels_that_can_be_written_but_not_read_again(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, settings={"size": 12_000})
    (line,) = too_many_pixels(plan, InputSizes.of(plan))
    assert line.startswith("contents.photo: at size 12000 it has 12000 x 9000")
    most = int(re.findall(r"`size` may be (\d+)", line)[0])
    for size, there in ((most, []), (most + 1, [line])):
        other = make_plan(tmp_path, settings={"size": size})
        assert len(list(too_many_pixels(other, InputSizes.of(other)))) == len(there)
    # The reader itself draws the line there.
    assert megapixels_problem(*fit_size((40, 30), most)) is None
    assert megapixels_problem(*fit_size((40, 30), most + 1)) is not None


def test_a_panorama_too_narrow_to_be_judged(tmp_path: Path) -> None:
    native = (400, 20)
    plan = make_plan(tmp_path, native, settings={"size": 800}, evaluation={"size": 128})
    (line,) = too_narrow(plan, InputSizes.of(plan))
    assert "evaluation.size 128 it has 128 x 6 px" in line
    needed = advised(line)
    for size, count in ((needed, 0), (needed - 1, 1)):
        other = make_plan(tmp_path, native, settings={"size": 800}, evaluation={"size": size})
        assert len(list(too_narrow(other, InputSizes.of(other)))) == count


def test_a_panorama_too_narrow_to_be_made(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, (400, 20), settings={"size": 256}, evaluation={"size": 512})
    (line,) = too_narrow(plan, InputSizes.of(plan))
    assert "at size 256 it has 256 x 13 px" in line
    other = make_plan(
        tmp_path, (400, 20), settings={"size": advised(line)}, evaluation={"size": 512}
    )
    assert not list(too_narrow(other, InputSizes.of(other)))


def test_the_encoder_itself_draws_the_line_there() -> None:
    encoder = load_compact()
    least = VGG19.stride(*EVAL_STYLE_LAYERS)
    encoder(torch.rand(1, 3, least, 64), list(EVAL_STYLE_LAYERS))
    with pytest.raises(ImageTooSmall):
        encoder(torch.rand(1, 3, least - 1, 64), list(EVAL_STYLE_LAYERS))


def test_memory_too_small_even_in_tiles(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, settings={"size": 4096})
    sizes = InputSizes.of(plan)
    small = Machine("cpu", 5e8)
    batches = estimate_batch(plan, plan.cells(), sizes, small).micro_batches
    (line,) = too_little_memory(batches, small)
    assert "4096 x 3072 px" in line
    assert "even in tiles" in line
    large = Machine("cpu", 1e12)
    assert not list(
        too_little_memory(estimate_batch(plan, plan.cells(), sizes, large).micro_batches, large)
    )


def test_memory_that_needs_a_shorter_history(tmp_path: Path) -> None:
    settings = {"size": 4096, "history": 100}
    plan = make_plan(tmp_path, settings=settings)
    need = peak_bytes(Settings(**settings), 4096, 3072, 1, history=50, tile=256)
    machine = Machine("cpu", 1.05 * need / 0.6)
    batches = estimate_batch(plan, plan.cells(), InputSizes.of(plan), machine).micro_batches
    (line,) = too_little_memory(batches, machine)
    assert "history 50 in place of 100" in line


@pytest.mark.parametrize("key", ["results", "store"])
def test_a_name_longer_than_the_file_system_holds(tmp_path: Path, key: str) -> None:
    limit = os.pathconf(tmp_path, "PC_NAME_MAX")
    for length, count in ((limit, 0), (limit + 1, 1)):
        plan = make_plan(
            tmp_path, **{"store": str(tmp_path / "s"), key: str(tmp_path / ("x" * length))}
        )
        lines = list(long_names(plan))
        assert len(lines) == count
        assert all(line.startswith(f"{key}: the name xxx") for line in lines)
    with pytest.raises(OSError, match="too long"):
        (tmp_path / ("x" * (limit + 1))).mkdir()


def test_a_path_longer_than_the_file_system_holds(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, store=str(tmp_path / "s"), results=str(tmp_path / ("deep/" * 900)))
    (line,) = long_names(plan)
    assert line.startswith("results: paths like cells/paint/photo/default.png")


@pytest.mark.parametrize("part", ["pictures", "states", "sheets"])
def test_a_disk_too_small(tmp_path: Path, part: str) -> None:
    plan = make_plan(tmp_path)
    assert not list(too_little_disk(plan, NOTHING))
    (line,) = too_little_disk(plan, Disk(**{**vars(NOTHING), part: 1e18}))
    assert line.startswith("results: the run may take up to 1e+06 TB")


def test_two_disks_are_asked_one_by_one(tmp_path: Path) -> None:
    other = next((p for p in map(Path, ("/dev/shm", "/run", "/tmp")) if p.is_dir()), tmp_path)
    if other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("only one file system")
    plan = make_plan(tmp_path, store=str(other / "nst-no-such-store"))
    assert [line.split(":")[0] for line in too_little_disk(plan, Disk(1e18, 0, 0, 0, 0))] == [
        "results",
        "store",
    ]
    (line,) = too_little_disk(plan, Disk(0, 0, 0, 0, 1e18))
    assert line.startswith("store: ")


def test_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert existing(tmp_path / "a" / "b") == tmp_path
    assert existing(tmp_path) == tmp_path


def test_weights_that_are_not_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    plan = make_plan(tmp_path, settings={"encoder": "vgg19"})
    (line,) = missing_weights(plan)
    assert "downloaded when the run starts" in line
    assert not missing_weights(make_plan(tmp_path))


def test_a_picture_that_cannot_be_read(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    (tmp_path / "paint.png").write_bytes(b"GIF89a")
    with pytest.raises(ImageError) as error:
        decode(tmp_path / "paint.png")
    assert InputSizes.of(plan).problems == [f"styles.paint: {error.value}"]
