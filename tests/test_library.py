"""The library as its users see it: arrays in, an array out, and the results of a run."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from plans import make_plan

import nstcore
from nstcore import Settings, load_encoder, load_image, open_run, save_image, stylize
from nstcore.cli import main
from nstcore.errors import ConfigError, ImageError, UserError
from nstcore.plan.snapshot import write_snapshot

QUICK = {"size": 48, "iterations": 4}


@pytest.fixture
def images(tmp_path: Path, waves, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(["a.png", "b.png", "other.png"]):
        save_image(waves(72, 96, seed), name)
    return tmp_path


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


# --- stylize


def test_the_line_of_the_readme_gives_the_image_of_nst_stylize(images):
    save_image(stylize(load_image("a.png"), load_image("b.png"), **QUICK, style_weight=10), "c.png")
    words = [word for name, value in QUICK.items() for word in ("--set", f"{name}={value}")]
    assert (
        main(["stylize", "a.png", "b.png", "-o", "d.png", "--set", "style_weight=10", *words]) == 0
    )
    assert pixels("c.png").shape == (36, 48, 3)
    np.testing.assert_array_equal(pixels("c.png"), pixels("d.png"))


@pytest.mark.parametrize(
    "settings",
    [
        {"color": "match_content"},
        {"color": "luminance", "luminance_space": "lab"},
        {"init": "style", "init_noise": 0.1, "optimizer": "adam"},
        {"init": "style", "color": "match_content"},
        {"init": "file", "init_file": "other.png"},
        {"preset": "fast", "size_by": "short", "style_scale": 1.5},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_settings_mean_what_they_mean_for_nst_stylize(images, settings):
    made = stylize(load_image("a.png"), load_image("b.png"), **{**QUICK, **settings}, seed=3)
    save_image(made, "c.png")
    words = [word for k, v in {**QUICK, **settings}.items() for word in ("--set", f"{k}={v}")]
    assert main(["stylize", "a.png", "b.png", "-o", "d.png", "--seed", "3", *words]) == 0
    np.testing.assert_array_equal(pixels("c.png"), pixels("d.png"))


def test_bytes_and_floats_give_the_same_and_progress_is_called(images):
    heard = []
    floats = stylize(
        load_image("a.png"), load_image("b.png"), **QUICK, progress=lambda *x: heard.append(x)
    )
    assert floats.dtype == np.float32
    assert 0 <= floats.min() <= floats.max() <= 1
    np.testing.assert_array_equal(floats, stylize(pixels("a.png"), pixels("b.png"), **QUICK))
    done, total, content, style = heard[-1]
    assert done == total == 4
    assert content > 0
    assert style > 0


def test_several_styles_are_blended_by_their_weights(images):
    content, first, second = (load_image(f"{name}.png") for name in ("a", "b", "other"))
    alone = stylize(content, first, **QUICK)
    np.testing.assert_array_equal(stylize(content, [first], **QUICK), alone)
    near, far = (
        np.abs(stylize(content, [first, second], style_weights=[share, 1], **QUICK) - alone).mean()
        for share in (1e4, 1)
    )
    assert 0 <= near < far / 20


def test_a_seed_counts_where_there_is_noise(images):
    content, style = load_image("a.png"), load_image("b.png")
    first, again, other = (
        stylize(content, style, **QUICK, init="noise", seed=n) for n in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 0.01


# --- mistakes


def test_a_misspelt_setting_is_told_with_what_was_meant(images):
    image = load_image("a.png")
    with pytest.raises(ConfigError, match=r"style_weigth.*style_weight"):
        stylize(image, image, style_weigth=10)
    with pytest.raises(ConfigError, match="size"):
        stylize(image, image, size=3)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((8, 8)), r"shape \(8, 8\)"),
        (np.zeros((8, 8, 4)), r"shape \(8, 8, 4\)"),
        (np.zeros((8, 8, 3), int), "int64"),
        (np.full((8, 8, 3), 200.0), r"outside of \[0, 1\]"),
        (np.full((8, 8, 3), np.nan), r"outside of \[0, 1\]"),
    ],
)
def test_an_array_that_is_no_image_is_refused(array, message):
    with pytest.raises(ImageError, match=message):
        stylize(array, np.zeros((64, 64, 3)), **QUICK)
    with pytest.raises(ImageError, match=message):
        save_image(array, "never.png")


@pytest.mark.parametrize("weights", [[1], [1, 2, 3], [1, 0], [1, float("nan")]])
def test_weights_that_do_not_fit_the_styles_are_refused(weights):
    image = np.zeros((64, 64, 3))
    with pytest.raises(UserError, match="style_weights"):
        stylize(image, [image, image], style_weights=weights, **QUICK)


# --- the rest of the front door


def test_an_image_survives_saving_and_loading(tmp_path, waves):
    image = waves(40, 56, 1)
    save_image(image, tmp_path / "x.tif", bits=16)
    np.testing.assert_allclose(load_image(tmp_path / "x.tif"), image, atol=1 / 65535)


def test_an_encoder_gives_activations():
    import torch

    encoder = load_encoder("compact", layers=["relu3_1"])
    image = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    assert encoder(image, ["relu3_1"])["relu3_1"].shape[2:] == (8, 12)
    with pytest.raises(ConfigError, match="compact"):
        load_encoder("compct")


FAKE_TORCH = """
import os
limits = [os.environ[name] for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if name in os.environ]
raise SystemExit(f"torch came with {', '.join(limits)}")
"""
COMMAND = "import sys; from nstcore.cli import main; sys.exit(main())"


@pytest.mark.parametrize("given", [None, "ACTIVE"])
@pytest.mark.parametrize(
    "words",
    [
        ["-c", "import nstcore; nstcore.load_encoder('compact')"],
        ["-c", COMMAND, "stylize", "a.png", "b.png", "-o", "c.png"],
    ],
    ids=["library", "command"],
)
def test_how_long_threads_spin_is_limited_before_torch_is_loaded(images, words, given):
    (images / "torch").mkdir()
    (images / "torch" / "__init__.py").write_text(FAKE_TORCH)
    paths = os.pathsep.join([str(images), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths}
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        environment.pop(name, None)
    if given is not None:
        environment["OMP_WAIT_POLICY"] = given
    said = subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, check=False
    )
    # Not at all where other programs want the cores, else for a little while.
    limits = [given] if given else ["PASSIVE", "30000"]
    assert said.stderr.splitlines()[-1] in [f"torch came with {limit}" for limit in limits]


@pytest.mark.parametrize(
    "script", sorted(Path("workflow/scripts").absolute().glob("*.py")), ids=str
)
def test_jobs_import_the_library_before_all_others(script):
    tree = ast.parse(script.read_text())
    modules = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module]
    modules += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    others = [name for name in modules if name.partition(".")[0] not in sys.stdlib_module_names]
    assert others
    assert all(name.partition(".")[0] == "nstcore" for name in others)


def test_importing_needs_no_torch_and_offers_what_it_says():
    program = (
        "import sys, nstcore; from nstcore import *; "
        "print(sorted(nstcore.__all__), 'torch' in sys.modules, stylize.__name__)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert said == f"{sorted(nstcore.__all__)} False stylize"
    assert Settings(size=64).size == 64
    with pytest.raises(AttributeError, match="no attribute 'stylise'"):
        nstcore.stylise  # noqa: B018


# --- a run


@pytest.fixture
def run(tmp_path: Path, waves) -> Path:
    """A run of two cells, of which one is finished."""
    plan = make_plan(tmp_path, run="two", sweep={"axes": {"style_weight": [1, 2]}})
    folder = Path(plan.config.run_dir)
    write_snapshot(plan)
    columns = ["style", "content", "setting", "seed", "style_weight", "key", "batch", "image"]
    lines = ["\t".join(columns)]
    for number, cell in enumerate(plan.cells()):
        row = [
            cell.style,
            cell.content,
            cell.point.name,
            "0",
            str(number + 1),
            "k" * 9 + str(number),
        ]
        lines.append("\t".join([*row, cell.batch, cell.image]))
    (folder / "grid.tsv").write_text("\n".join(lines) + "\n")
    first = folder / next(iter(plan.cells())).image
    save_image(waves(30, 40, 5), first)
    record = {"key": "k" * 9 + "0", "status": "ok", "reason": None, "metrics": {"style_loss": 0.25}}
    first.with_suffix(".json").write_text(json.dumps(record))
    return folder


def test_a_run_gives_its_plan_cells_images_and_metrics(run):
    opened = open_run(run)
    assert list(opened.plan.contents) == ["photo"]
    first, second = opened.cells
    assert (first.style, first.content, first.seed) == ("paint", "photo", 0)
    assert first.record is not None
    assert first.record.metrics["style_loss"] == 0.25
    assert first.load().shape == (30, 40, 3)
    assert second.record is None
    assert not second.path.exists()
    assert list(opened.metrics["style_weight"]) == [1, 2]
    assert list(opened.metrics["status"]) == ["ok", "missing"]
    assert opened.metrics["style_loss"][0] == 0.25


def test_another_folder_is_no_run(tmp_path):
    with pytest.raises(UserError, match="give the folder of a run"):
        open_run(tmp_path)
