"""What an engine holds of a job with many pictures, and what one of them that cannot be read costs."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from nstcore.core.encoders import COMPACT_FILE
from nstcore.core.settings import Settings
from nstcore.core.stylize import StylizeTask
from nstcore.errors import UserError
from nstcore.jobs import engine as engine_module
from nstcore.jobs.device_models import TARGETS_KEPT
from nstcore.jobs.engine import Engine, StylizeRequest

SETTINGS = Settings(size=32, pyramid_start=32, iterations=2)
SIZE = (32, 24)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("targets") / "style.safetensors"
    style = np.random.default_rng(1).random((32, 32, 3), dtype=np.float32)
    layers = tuple(SETTINGS.style_layers)
    Engine("cpu", 1).style_target(path, style, 32, SETTINGS, layers, COMPACT_FILE, {})
    return path


def job(number: int, target: Path, read: Callable[[], StylizeTask]) -> StylizeRequest:
    return StylizeRequest(f"picture {number}", SETTINGS, SIZE, [target], COMPACT_FILE, read)


def content(number: int) -> np.ndarray:
    return np.random.default_rng(number).random((24, 32, 3), dtype=np.float32)


@pytest.mark.parametrize("together", [1, 2])
def test_contents_of_two_batches_are_in_memory_at_the_most(target: Path, together: int) -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    most, readers = [], []

    def reader(number: int) -> Callable[[], StylizeTask]:
        def read() -> StylizeTask:
            pixels = content(number)
            alive.append(weakref.ref(pixels))
            most.append(sum(one() is not None for one in alive))
            readers.append(threading.current_thread().name)
            return StylizeTask(pixels, (), SETTINGS, number)

        return read

    engine = Engine("cpu", 1, together)
    made = dict(engine.make([job(n, target, reader(n)) for n in range(8)]))
    assert len(alive) == 8
    assert max(most) <= 2 * together
    beside = [name for name in readers if name != threading.current_thread().name]
    assert len(beside) == 8 - together, "all but the first batch"
    assert all(one.result.status == "ok" for one in made.values())
    for number in (0, 7):
        alone = dict(Engine("cpu", 1, 1).make([job(0, target, reader(number))]))
        difference = alone[0].result.image - made[number].result.image
        assert np.abs(difference).max() < 1e-4


def test_a_picture_that_cannot_be_read_costs_itself_alone(target: Path) -> None:
    def missing() -> StylizeTask:
        raise UserError("cat.png: it is gone")

    jobs = [job(n, target, lambda n=n: StylizeTask(content(n), (), SETTINGS, n)) for n in range(3)]
    jobs[1] = job(1, target, missing)
    made = dict(Engine("cpu", 1).make(jobs))
    assert made[1].result is None
    assert made[1].reason == "cat.png: it is gone"
    assert all(made[n].result.status == "ok" for n in (0, 2))


def test_targets_that_were_long_not_used_leave_the_device(target: Path) -> None:
    engine = Engine("cpu", 1)
    first = engine.moments(target)
    assert engine.moments(target) is first
    for number in range(TARGETS_KEPT):
        copy = target.with_name(f"{number}.safetensors")
        copy.write_bytes(target.read_bytes())
        engine.moments(copy)
    assert engine.moments(target) is not first


def test_what_has_to_wait_comes_last_and_what_another_has_made_is_left_out(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "PAUSES", (0.0, 0.0))
    asked: list[tuple[int, ...]] = []

    def claim(indices: Sequence[int]) -> tuple[list[int], list[int]]:
        asked.append(tuple(indices))
        left = [index for index in indices if index not in (1, 4, 5)]
        later = [index for index in left if index in (0, 2) and len(asked) < 7]
        return [index for index in left if index not in later], later

    jobs = [job(n, target, lambda n=n: StylizeTask(content(n), (), SETTINGS, n)) for n in range(8)]
    made = [(index, one.members) for index, one in Engine("cpu", 1, 2).make(jobs, claim=claim)]
    assert made == [(3, (3,)), (6, (6, 7)), (7, (6, 7)), (0, (0,)), (2, (2,))]
    assert asked == [(0, 1), (2, 3), (4, 5), (6, 7), (0,), (2,), (0,), (2,)]
