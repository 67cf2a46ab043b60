"""A batch: what the store has is linked, what fails costs one cell, what is made is kept."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nstcore.config.loader import parse_config
from nstcore.core.history import LevelReport, Result
from nstcore.core.settings import Settings
from nstcore.errors import StoreError, UserError
from nstcore.images import read_record, write_image
from nstcore.jobs import engine as engine_module
from nstcore.jobs import output as output_module
from nstcore.jobs import prepare
from nstcore.jobs.cell_inputs import RunInputs
from nstcore.jobs.engine import (
    ClaimCallback,
    Engine,
    StylizeRequest,
    StylizeResult,
    claim_all,
)
from nstcore.jobs.input_cache import InputCache
from nstcore.jobs.output import json_safe
from nstcore.jobs.stylize import stylize_batch
from nstcore.plan import paths
from nstcore.plan.plan import Plan
from nstcore.results.finalize import finalize
from nstcore.store.cells import Store
from nstcore.store.claims import Claims
from nstcore.store.files import file_sha256, write_json, write_text


class Stand:
    """In place of the engine: paints every picture in one grey, and fails where it is told to."""

    made: list[str] = []  # noqa: RUF012
    fails: dict[float, str] = {}  # noqa: RUF012
    device = torch.device("cpu")

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def make(
        self, jobs: Sequence[StylizeRequest], progress: object, claim: ClaimCallback
    ) -> Iterator[tuple[int, StylizeResult]]:
        facts = {"device": "cpu", "batch_size": 1, "iterations": 1, "seconds": 0.1}
        for index, job in enumerate(jobs):
            now, _ = claim([index])
            if not now:
                continue
            weight = job.settings.style_weight
            Stand.made.append(job.label)
            how = Stand.fails.get(weight)
            if how == "stop":
                raise KeyboardInterrupt
            if how == "failed":
                yield index, StylizeResult(None, "RuntimeError: no luck", dict(facts))
                continue
            # "wild": an infinite loss on the way, and a good picture all the same.
            image = np.full(job.read().content.shape, (weight % 100) / 100, np.float32)
            trace = {"iteration": [0.0], "total_loss": [float("inf") if how else 1.0]}
            result = Result(image, [LevelReport(64, 64, 1, 0.1)], trace, 0, how == "diverged")
            yield index, StylizeResult(result, result.reason, dict(facts))

    def style_target(self, file: Path, *_: object) -> None:
        write_text(file, "")

    def evaluation(self, *_: object) -> Any:
        return lambda picture: {"content_loss": float(picture.mean()), "ssim": float("nan")}


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engine_module, "Engine", Stand)
    monkeypatch.setattr(Stand, "made", [])
    monkeypatch.setattr(Stand, "fails", {})
    for shade, name in enumerate(["cat.png", "dog.png", "night.png"]):
        Image.new("RGB", (80, 60), (70 * shade, 0, 0)).save(name)
    return make_plan()


def make_plan(**changes: Any) -> Plan:
    raw: dict[str, Any] = {
        "contents": ["cat.png", "dog.png"],
        "styles": "night.png",
        "settings": {"size": 64, "pyramid_start": 64},
        "sweep": {"axes": {"style_weight": [1, 2, 3]}},
        "evaluation": {"size": 64},
        "device": "cpu",
    }
    plan = Plan(parse_config({**raw, **changes}))
    for content in plan.contents:
        prepare.prepare_content(plan, content)
    prepare.prepare_style(plan, "night", 0)
    for name in plan.encoders:
        facts = {"name": "vgg19", "source": "none", "sha256": "0" * 64}
        write_json(Path(plan.config.run_dir) / paths.ENCODER_METADATA.format(encoder=name), facts)
    return plan


def run(plan: Plan) -> tuple[int, int, int]:
    outcome = stylize_batch(plan, list(plan.cells()))
    return outcome.linked, outcome.computed, outcome.failed


def record_of(plan: Plan, image: str) -> dict[str, Any]:
    path = paths.record_path(Path(plan.config.run_dir) / image)
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def test_every_cell_has_its_picture_and_its_record(plan: Plan) -> None:
    assert run(plan) == (0, 6, 0)
    for cell in plan.cells():
        path = Path(plan.config.run_dir) / cell.image
        record = record_of(plan, cell.image)
        assert record["key"] == RunInputs(plan).of(cell).key()
        assert (record["status"], record["reason"]) == ("ok", None)
        assert record["cell"]["axes"] == {"style_weight": cell.settings.style_weight}
        assert record["image"]["file"] == path.name
        assert record["image"]["sha256"] == file_sha256(path)
        assert record["inputs"]["content"]["path"] == plan.contents[cell.content].path
        assert record["metrics"]["ssim"] is None, "JSON knows no NaN"
        with Image.open(path) as image:
            assert image.size == (record["image"]["width"], record["image"]["height"])
        embedded = read_record(path)
        assert embedded["settings"] == record["settings"] == cell.settings.model_dump()


def test_what_the_store_has_is_not_made_again(plan: Plan) -> None:
    run(plan)
    first = {cell.image: record_of(plan, cell.image) for cell in plan.cells()}
    Stand.made.clear()
    assert run(plan) == (6, 0, 0)
    assert Stand.made == []
    assert {cell.image: record_of(plan, cell.image) for cell in plan.cells()} == first
    grown = make_plan(sweep={"axes": {"style_weight": [1, 7, 2, 3]}})
    assert run(grown) == (6, 2, 0)
    assert all("style_weight=7" in label for label in Stand.made)


def test_a_changed_picture_makes_other_cells(plan: Plan) -> None:
    run(plan)
    Image.new("RGB", (80, 60), (1, 2, 3)).save("cat.png")
    assert run(make_plan()) == (3, 3, 0)
    # The same pixels under another name and in another format are the same content.
    Image.new("RGB", (80, 60), (1, 2, 3)).save("other.tif")
    assert run(make_plan(contents={"renamed": "other.tif"})) == (3, 0, 0)


def test_a_picture_that_was_edited_in_place_is_made_again(plan: Plan) -> None:
    run(plan)
    cell = next(plan.cells())
    path = Path(plan.config.run_dir) / cell.image
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-20])
    linked, computed, failed = run(plan)
    assert failed == 0
    assert linked + computed == 6
    assert record_of(plan, cell.image)["image"]["sha256"] == file_sha256(path)


@pytest.mark.parametrize("how", ["failed", "diverged"])
def test_one_bad_cell_costs_one_cell(plan: Plan, how: str) -> None:
    Stand.fails[2.0] = how
    assert run(plan) == (0, 4, 2)
    for cell in plan.cells():
        record = record_of(plan, cell.image)
        path = Path(plan.config.run_dir) / cell.image
        with Image.open(path) as image:
            assert image.size == (64, 48), "a placeholder has the picture's size"
        if cell.settings.style_weight == 2:
            assert record["status"] == how
            assert len(record["reason"].splitlines()) == 1
            assert (record["image"], record["metrics"]) == (None, {})
        else:
            assert record["status"] == "ok"
    assert len(list(Store(plan.config.store_dir).keys())) == 4
    Stand.fails.clear()
    Stand.made.clear()
    assert run(plan) == (4, 2, 0), "it is tried again"
    assert len(Stand.made) == 2


def test_a_cell_that_recovered_is_a_good_cell(plan: Plan) -> None:
    Stand.fails[2.0] = "wild"
    assert run(plan) == (0, 6, 0)
    record = record_of(plan, "cells/night/cat/style_weight=2.png")
    assert record["status"] == "ok"
    assert record["trace"]["total_loss"] == [None]


def test_cells_that_were_finished_before_the_end_stay(plan: Plan) -> None:
    Stand.fails[3.0] = "stop"
    with pytest.raises(KeyboardInterrupt):
        run(plan)
    assert len(list(Store(plan.config.store_dir).keys())) == 2
    Stand.fails.clear()
    assert run(plan) == (2, 4, 0)


def test_a_picture_is_written_while_the_next_is_made(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, waited = threading.Event(), []

    class Signalling(Stand):
        def make(
            self, jobs: Sequence[StylizeRequest], progress: object, claim: ClaimCallback
        ) -> Iterator[tuple[int, StylizeResult]]:
            for count, pair in enumerate(super().make(jobs, progress, claim)):
                if count == 1:
                    second.set()
                yield pair

    def save(*arguments: Any, **options: Any) -> None:
        waited.append(second.wait(60))
        write_image(*arguments, **options)

    monkeypatch.setattr(engine_module, "Engine", Signalling)
    monkeypatch.setattr(output_module, "write_image", save)
    assert run(plan) == (0, 6, 0)
    assert waited == [True] * 6


@pytest.mark.parametrize(("device", "beside"), [("cuda", True), ("cpu", False)])
def test_a_device_makes_the_next_picture_while_one_is_measured(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, device: str, beside: bool
) -> None:
    measured = []

    class Measuring(Stand):
        def evaluation(self, *_: object) -> Any:
            def evaluate(picture: Any) -> dict[str, float]:
                measured.append(threading.current_thread() is not threading.main_thread())
                return {"content_loss": float(picture.mean())}

            return evaluate

    Measuring.device = torch.device(device)
    monkeypatch.setattr(engine_module, "Engine", Measuring)
    assert run(plan) == (0, 6, 0)
    assert measured == [beside] * 6
    for cell in plan.cells():
        shade = record_of(plan, cell.image)["metrics"]["content_loss"]
        assert shade == pytest.approx(cell.settings.style_weight / 100, abs=0.01)


def test_what_could_not_be_measured_beside_is_measured_after(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Short(Stand):
        device = torch.device("cuda")

        def evaluation(self, *_: object) -> Any:
            def evaluate(picture: Any) -> dict[str, float]:
                if threading.current_thread() is not threading.main_thread():
                    raise torch.cuda.OutOfMemoryError("CUDA out of memory")
                return {"content_loss": float(picture.mean())}

            return evaluate

    monkeypatch.setattr(engine_module, "Engine", Short)
    assert run(plan) == (0, 6, 0)
    assert all(record_of(plan, cell.image)["metrics"] for cell in plan.cells())


def test_two_jobs_that_wait_for_each_other_both_go_on(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What this one has written is given back while it waits for the last that the other makes."""
    store = Store(plan.config.store_dir)
    *_, previous, last = [RunInputs(plan).of(cell).key() for cell in plan.cells()]
    with Claims(store) as other:
        other.take([last])

        class Waiting(Stand):
            def make(
                self, jobs: Sequence[StylizeRequest], progress: object, claim: ClaimCallback
            ) -> Iterator[tuple[int, StylizeResult]]:
                yield from super().make(jobs, progress, claim)
                end = time.monotonic() + 60
                while claim([len(jobs) - 1]) == ([], [len(jobs) - 1]):
                    assert time.monotonic() < end
                    time.sleep(0.01)
                    if not other.take([previous]):
                        other.release([last])
                for _, made in super().make(jobs[-1:], progress, claim_all):
                    yield len(jobs) - 1, made

        monkeypatch.setattr(engine_module, "Engine", Waiting)
        assert run(plan) == (0, 6, 0)
    assert set(store.keys()) == {RunInputs(plan).of(cell).key() for cell in plan.cells()}


class TestCheck:
    def test_a_good_run(self, plan: Plan, tmp_path: Path) -> None:
        run(plan)
        finalize(plan, tmp_path / "summary.json")
        summary = json.loads((tmp_path / "summary.json").read_text())
        assert summary == {"cells": 6, "failed": []}

    def test_failures_are_listed_and_tried_again(self, plan: Plan, tmp_path: Path) -> None:
        Stand.fails[2.0] = "failed"
        run(plan)
        with pytest.raises(UserError, match="2 of 6 cells failed") as caught:
            finalize(plan, tmp_path / "summary.json")
        assert str(caught.value).count("RuntimeError: no luck") == 2
        assert not (tmp_path / "summary.json").exists()
        missing = [c for c in plan.cells() if not (Path(plan.config.run_dir) / c.image).exists()]
        assert [cell.settings.style_weight for cell in missing] == [2, 2]

    def test_failures_may_be_allowed(self, plan: Plan, tmp_path: Path) -> None:
        Stand.fails[2.0] = "failed"
        lenient = make_plan(allow_failures=True)
        run(lenient)
        finalize(lenient, tmp_path / "summary.json")
        assert len(json.loads((tmp_path / "summary.json").read_text())["failed"]) == 2
        assert all((Path(plan.config.run_dir) / c.image).exists() for c in lenient.cells())


def test_a_run_that_is_not_prepared_says_so(plan: Plan) -> None:
    path = Path(plan.config.run_dir) / paths.CONTENT_METADATA.format(content="cat", size=64)
    path.unlink()
    with pytest.raises(StoreError, match=r"cat/64\.json.*run again"):
        run(plan)


def test_pictures_that_go_together_share_a_batch() -> None:
    def unread() -> Any:
        raise AssertionError("nothing is read to plan batches")

    settings = [
        Settings(style_weight=weight, pooling=pooling)
        for weight in (1, 2)
        for pooling in ("max", "avg")
    ]
    jobs = [
        StylizeRequest(f"{i}{j}", s, size, [], Path("w"), unread)
        for i, size in enumerate([(40, 32), (40, 48)])
        for j, s in enumerate(settings)
    ]
    batches = list(Engine("cpu", 1)._batches(jobs))
    assert sorted(index for batch in batches for index in batch.items) == list(range(8))
    for batch in batches:
        assert len({jobs[i].size for i in batch.items}) == 1
        assert len({jobs[i].settings.pooling for i in batch.items}) == 1
    assert len(batches) == 4
    assert all(len(batch.items) == 1 for batch in Engine("cpu", 1, 1)._batches(jobs))


def test_json_knows_no_nan() -> None:
    assert [json_safe(value) for value in (1.5, float("nan"), float("inf"))] == [1.5, None, None]


def test_cells_that_cannot_differ_are_made_once(plan: Plan) -> None:
    Image.open("cat.png").save("copy.png")
    both = make_plan(contents=["cat.png", "copy.png"])
    assert run(both) == (0, 6, 0)
    assert len(Stand.made) == 3, "one computation serves both ids"
    for cell in both.cells():
        assert record_of(both, cell.image)["cell"]["content"] == cell.content
    Stand.fails.update({9.0: "failed"})
    assert run(
        make_plan(contents=["cat.png", "copy.png"], sweep={"axes": {"style_weight": [9]}})
    ) == (0, 0, 2)


def test_a_blend_starts_from_the_same_colours_in_any_order(plan: Plan) -> None:
    random = np.random.default_rng(0)
    for name in ("one.png", "two.png"):
        Image.fromarray(random.integers(0, 255, (50, 70, 3), dtype=np.uint8)).save(name)
    found = []
    for parts in ({"one.png": 3, "two.png": 1}, {"two.png": 1, "one.png": 3}):
        blended = Plan(
            parse_config({"contents": "cat.png", "styles": {"night": parts}, "run": "blend"})
        )
        for index in range(2):
            prepare.prepare_style(blended, "night", index)
        prepare.prepare_content(blended, "cat")
        for name in blended.encoders:
            prepare.prepare_encoder(blended, name)
        inputs = RunInputs(blended).of(next(blended.cells()))
        found.append(InputCache(None).style_colors(inputs))
    assert np.array_equal(*found)
    shares = [np.asarray(Image.open(name)).mean((0, 1)) / 255 for name in ("one.png", "two.png")]
    np.testing.assert_allclose(
        found[0].mean((0, 1)), 0.75 * shares[0] + 0.25 * shares[1], atol=2e-3
    )
