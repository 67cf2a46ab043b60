"""A finished picture comes out again to the last bit, and what stands in the way is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nstcore.cli import main
from nstcore.config.loader import parse_config
from nstcore.core.encoders import COMPACT_FILE
from nstcore.images import decode, read_record, write_image
from nstcore.jobs.prepare import prepare_inputs
from nstcore.jobs.stylize import make_image, stylize_batch
from nstcore.jobs.targets import make_targets
from nstcore.plan import paths
from nstcore.plan.plan import Plan
from nstcore.store.files import write_json
from tests.synthetic import painting

FEW = {"size": 64, "pyramid_start": 64, "iterations": 2}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a photograph and two paintings, in which everything is called."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(["photo.png", "paint.png", "other.png"]):
        painting(seed, (80, 64)).save(name)
    return tmp_path


def plan_of(**given: Any) -> Plan:
    raw: dict[str, Any] = {
        "contents": {"photo": "photo.png"},
        "styles": {"paint": "paint.png"},
        "evaluation": {"size": 64},
        "device": "cpu",
        **given,
        "settings": {**FEW, **given.get("settings", {})},
    }
    plan = Plan(parse_config(raw))
    prepare_inputs(plan)
    return plan


def make(**given: Any) -> Path:
    """A finished picture at ``made.*`` with its record beside it, and nothing else of its run."""
    plan = plan_of(**given)
    image, _ = make_image(plan, threads=1)
    made = Path(f"made{image.suffix}")
    shutil.copyfile(image, made)
    record = json.loads(paths.record_path(image).read_text())
    record["image"]["file"] = made.name
    write_json(paths.record_path(made), record)
    shutil.rmtree(plan.config.results)
    return made


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def call(*words: str | Path) -> tuple[int, str]:
        capsys.readouterr()
        status = main(["reproduce", *map(str, words)])
        captured = capsys.readouterr()
        return status, " ".join((captured.out + captured.err).split())

    return call


Said = Callable[..., tuple[int, str]]


def same_pixels(one: Path, other: Path) -> bool:
    first, second = decode(one, flat=False), decode(other, flat=False)
    alpha = (first.alpha is None) == (second.alpha is None)
    if first.alpha is not None and second.alpha is not None:
        alpha = np.array_equal(first.alpha, second.alpha)
    return alpha and np.array_equal(first.pixels, second.pixels)


def test_one_picture_of_the_command_line(here: Path, said: Said) -> None:
    words = ["stylize", "photo.png", "paint.png", "-o", "out/one.jpg", "--device", "cpu"]
    for name, value in FEW.items():
        words += ["--set", f"{name}={value}"]
    assert main([*words, "--set", "init_noise=0.1", "--seed", "7"]) == 0
    assert read_record(Path("out/one.jpg"))["seed"] == 7
    status, text = said("out/one.jpg")
    assert (status, "identical to out/one.jpg, all 3264 pixels" in text) == (0, True), text
    assert same_pixels(Path("out/one.jpg"), Path("out/one.again.jpg"))
    status, text = said("out/one.jpg")
    assert status == 2
    assert "out/one.again.jpg: exists already" in text


def test_a_cell_of_a_batch(here: Path, said: Said) -> None:
    """Its neighbours decide how it is rounded: the record names them, and they are made again too."""
    plan = plan_of(
        sweep={"axes": {"style_weight": [1, 10, 100]}, "seeds": [0, 1]},
        settings={"init_noise": 0.1, "tolerance": 0.2, "iterations": 25},
        batch_size=4,
    )
    make_targets(plan, "paint", threads=1)
    stylize_batch(plan, list(plan.cells()), threads=1)
    image = Path(plan.config.run_dir) / list(plan.cells())[2].image
    record = read_record(image)
    assert len(record["together"]) == record["optimization"]["batch_size"] == 4
    assert record["together"][2] is None
    assert record["together"][0] == {"seed": 0, "settings": {"style_weight": 1.0}}
    shutil.copyfile(image, "alone.png")
    status, text = said("alone.png", "-o", "again.png")
    assert (status, "again.png: identical to alone.png" in text) == (0, True), text
    assert same_pixels(Path("again.png"), image)
    status, text = said(paths.record_path(image), "-o", "by_json.png")
    assert (status, "by_json.png: identical to" in text) == (0, True), text
    # By itself it may be rounded differently: whichever it is, that is what is said.
    status, text = said("alone.png", "-o", "single.png", "--alone")
    assert status == (0 if same_pixels(Path("single.png"), image) else 1)
    assert ("batch size 4, now 1" in text) == (status == 1)
    # An eye sees no difference: the bound is a fiftieth of the range.
    apart = np.abs(decode(Path("single.png")).pixels.astype(int) - decode(image).pixels)
    assert apart.mean() < 255 / 50


def test_what_a_batch_shares_is_shared_again(here: Path, said: Said) -> None:
    """One style's target for all images is rounded otherwise than a target for each."""
    for seed, name in enumerate(["photo.png", "paint.png"]):
        painting(seed, (640, 512)).save(name)
    plan = plan_of(
        sweep={"axes": {"style_weight": [0.3, 5, 100]}},
        settings={"size": 128, "pyramid_start": 128, "iterations": 12},
        output={"bits": 16},
    )
    make_targets(plan, "paint", threads=1)
    stylize_batch(plan, list(plan.cells()), threads=1)
    image = Path(plan.config.run_dir) / list(plan.cells())[1].image
    assert len(read_record(image)["together"]) == 3
    status, text = said(image, "-o", "again.png")
    assert (status, "again.png: identical to" in text) == (0, True), text


REGIONS = {
    "contents": {"photo": {"path": "photo.png", "guide": "guide.png"}},
    "styles": {"both": {"regions": {"#ff0000": "paint.png", "#0000ff": "other.png"}}},
}


@pytest.mark.parametrize(
    "given",
    [
        {"settings": {"color": "match_content"}, "output": {"format": "png", "bits": 16}},
        {"settings": {"color": "luminance"}, "output": {"format": "tiff", "bits": 16}},
        {**REGIONS, "output": {"format": "webp"}, "deterministic": True},
        {
            "contents": {"photo": "cut.png"},
            "styles": {"blend": {"paint.png": 0.3, "other.png": 0.6}},
            "output": {"preserve_alpha": True},
            "background": "#206080",
            "tile": 64,
            "precision": "bfloat16",
        },
    ],
    ids=["match_content", "luminance", "regions", "alpha"],
)
def test_every_kind_of_picture(here: Path, said: Said, given: dict[str, Any]) -> None:
    guide = np.zeros((64, 80, 3), np.uint8)
    guide[:, :40, 0] = guide[:, 40:, 2] = 255
    Image.fromarray(guide).save("guide.png")
    cut = painting(0, (80, 64)).convert("RGBA")
    cut.putalpha(Image.linear_gradient("L").resize((80, 64)))
    cut.save("cut.png")
    made = make(**given)
    record = read_record(made)
    assert record["output"]["format"] == given["output"].get("format", "png")
    assert record["inputs"]["background"] == given.get("background", "#ffffff")
    assert record["optimization"]["threads"] == 1
    paths.record_path(made).unlink()
    status, text = said(made, "-o", f"again{made.suffix}")
    assert (status, "identical" in text) == (0, True), text
    assert same_pixels(made, Path(f"again{made.suffix}"))
    with Image.open(f"again{made.suffix}") as again:
        assert again.format == {"tif": "TIFF", "web": "WEBP", "png": "PNG"}[made.suffix[1:4]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a picture, its record, and everything that it was made from."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for seed, name in enumerate(["photo.png", "paint.png", "small.png"]):
            painting(seed, (80, 64)).save(name)
        shutil.copyfile(COMPACT_FILE, "eye.safetensors")
        own = {"weights": "eye.safetensors", "init": "file", "init_file": "small.png"}
        make(settings=own)
    return folder


class TestWhatHasChanged:
    """All from one small picture; nothing is computed unless everything is as it was."""

    @pytest.fixture
    def copy(self, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        shutil.copytree(finished, tmp_path / "copy")
        monkeypatch.chdir(tmp_path / "copy")
        return tmp_path / "copy"

    @pytest.mark.parametrize(
        ("file", "what"),
        [
            ("photo.png", "content: "),
            ("paint.png", "style: "),
            ("small.png", "init_file: "),
            ("eye.safetensors", "weights: "),
        ],
    )
    def test_an_input(self, copy: Path, said: Said, file: str, what: str) -> None:
        if file.endswith(".png"):
            pixels = np.array(Image.open(file))
            pixels[3, 4] ^= 64
            Image.fromarray(pixels).save(file)
        else:
            Path(file).write_bytes(Path(file).read_bytes() + b" ")
        for given in ("made.png", "made.json"):
            status, text = said(given)
            assert status == 2
            assert text.count("nst: ") == 1
            assert f"nst: {what}{file} has changed" in text
        Path(file).unlink()
        status, text = said("made.png")
        assert status == 2
        assert text.count("nst: ") == 1
        assert f"nst: {what}there is no file {file}" in text
        assert ("small image of a refined one" in text) == (file == "small.png")
        assert not list(copy.glob("*again*"))

    def test_everything_missing_is_named_at_once(self, copy: Path, said: Said) -> None:
        status, text = said("made.png", "--root", "elsewhere")
        assert status == 2
        for file in ("photo.png", "paint.png", "small.png", "eye.safetensors"):
            assert f"there is no file elsewhere/{file}" in text

    def test_from_another_folder_and_without_the_picture(
        self, copy: Path, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("copy/made.png").rename("kept.png")
        status, text = said("copy/made.json", "--root", "copy")
        assert (status, "identical to the image that copy/made.json describes" in text) == (
            0,
            True,
        )
        assert same_pixels(Path("copy/made.again.png"), Path("kept.png"))

    def test_the_picture_itself(self, copy: Path, said: Said) -> None:
        record = read_record(Path("made.png"))
        record["versions"]["torch"] = "1.0"
        pixels = decode(Path("made.png")).pixels.astype(np.float32) / 255
        pixels[5, 6, 0] += 3 / 255 if pixels[5, 6, 0] < 0.5 else -3 / 255
        write_image(Path("made.png"), pixels, record=record)
        status, text = said("made.png")
        assert status == 1
        assert "in 1 of 3264 pixels, by at most 3 of 255 levels" in text
        assert "made.png was changed after it was made" in text
        # Without the digest nobody knows, and the other version is the likely cause.
        del record["image"]["pixels"]
        write_image(Path("made.png"), pixels, record=record)
        status, text = said("made.png", "--force")
        assert status == 1
        assert "different from then: torch 1.0, now " in text

    @pytest.mark.parametrize(
        ("words", "part"),
        [
            (["photo.png"], "photo.png: holds no record"),
            (["nothing.png"], "nothing.png: there is no such file"),
            (["nothing.json"], "nothing.json: no such file"),
            (["made.png", "-o", "made.png", "--force"], "made.png: is the image to compare with"),
            (["made.png", "-o", "again.jpg"], "again.jpg: the image is a png"),
            (["made.png", "-o", "photo.png"], "photo.png: exists already"),
            (["list.json"], "list.json: not a record"),
            (["part.json"], "part.json: not a valid record (`algorithm` is missing)"),
            (["failed.json"], "failed.json: the image of this record was not made"),
            (["newer.json"], "settings.brush"),
        ],
    )
    def test_mistakes(self, copy: Path, said: Said, words: list[str], part: str) -> None:
        record = json.loads(Path("made.json").read_text())
        Path("list.json").write_text("[]")
        write_json(Path("part.json"), {"settings": {}})
        write_json(Path("failed.json"), {**record, "status": "diverged", "reason": "no luck"})
        write_json(
            Path("newer.json"), {**record, "settings": {**record["settings"], "brush": "round"}}
        )
        status, text = said(*words)
        assert status == 2
        assert text.count("nst: ") == 1
        assert part in text
