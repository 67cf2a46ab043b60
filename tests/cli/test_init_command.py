"""A configuration that is written for one's own images can be read, and its run ends."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nstcore
from nstcore.cli import main
from nstcore.cli.init_command import unique_id
from nstcore.plan.snapshot import read_plan

ODD_NAMES = ["y.png", "1e3.png", "null.png", "#1: x.png", 'été\'s "nuit".png', "{a}.png", "~.png"]


def write_image(path: str | Path, seed: int = 0) -> None:
    Path(path).parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format="PNG")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keeps how fast this machine is, so that it is measured once."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def folder(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # What fits into ten minutes is up to the machine, and to what else it does.
    monkeypatch.setattr("nstcore.cli.init_command.LONGEST", math.inf)
    Path("results").mkdir()
    Path("results", ".store").symlink_to(store)
    for name in ("photos/Cat.png", "photos/cat.jpeg", "photos/dog.png", "paintings/night.png"):
        write_image(name)
    return tmp_path


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["init", *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("nst: ")


def test_what_is_written_can_be_read_and_its_next_command_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("photos", "notes.txt").write_text("no image")
    Path("photos", "more").mkdir()
    Path("photos", ".hidden").write_text("not told")
    Path("photos", "half.png").write_bytes(Path("photos", "dog.png").read_bytes()[:900])
    assert main(["init", "photos", "paintings/", "-o", "sea side.yaml"]) == 0
    *left_out, written, following = capsys.readouterr().out.splitlines()
    places = ["photos/half.png", "photos/more", "photos/notes.txt"]
    assert [line.split(": ")[:2] for line in left_out] == [["left out", place] for place in places]
    assert written.startswith("sea side.yaml: 9 images of 256 px in about ")
    assert following == "next: nst run 'sea side.yaml'"
    plan = read_plan("sea side.yaml")
    assert plan.config.run == "sea-side"
    assert {name: source.path for name, source in plan.contents.items()} == {
        "Cat": "photos/Cat.png",
        "cat-2": "photos/cat.jpeg",
        "dog": "photos/dog.png",
    }
    assert list(plan.styles) == ["night"]
    assert plan.cell_count == 9


def test_less_is_chosen_until_it_fits_and_the_rest_is_there_as_comments(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        write_image(f"paintings/p{number}.png")
    assert main(["init", "photos", "paintings", "-o", "rich.yaml"]) == 0
    monkeypatch.setattr("nstcore.cli.init_command.LONGEST", 0.0)
    assert main(["init", "photos", "paintings", "-o", "poor.yaml"]) == 0
    rich, poor = read_plan("rich.yaml"), read_plan("poor.yaml")
    assert (len(rich.contents), len(rich.styles)) == (3, 4)
    assert (len(poor.contents), len(poor.styles)) == (1, 1)
    assert (rich.settings[0].size, poor.settings[0].size) == (256, 128)
    text = Path("poor.yaml").read_text(encoding="utf-8")
    Path("all.yaml").write_text(text.replace("  # ", "  "), encoding="utf-8")
    whole = read_plan("all.yaml")
    assert (len(whole.contents), len(whole.styles)) == (3, 21)
    assert whole.axis_values["pooling"] == ["max", "avg"]


def test_odd_names_keep_their_files(folder: Path) -> None:
    for name in ODD_NAMES:
        write_image(f"odd/{name}")
    assert main(["init", "odd", *(f"odd/{name}" for name in ODD_NAMES)]) == 0
    text = Path("my.yaml").read_text(encoding="utf-8")
    Path("all.yaml").write_text(text.replace("  # ", "  "), encoding="utf-8")
    plan = read_plan("all.yaml")
    assert {source.path for source in plan.contents.values()} == {f"odd/{n}" for n in ODD_NAMES}
    assert [source.paths for source in plan.styles.values()] == [(f"odd/{n}",) for n in ODD_NAMES]
    assert "ete-s-nuit" in plan.styles


def test_a_name_that_is_not_utf_8_is_left_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        os.rename(b"photos/dog.png", b"photos/d\xf6g.png")
    except OSError:
        pytest.skip("the file system has such names not")
    assert main(["init", "photos", "paintings"]) == 0
    assert "not UTF-8; rename it" in capsys.readouterr().out
    assert list(read_plan("my.yaml").contents) == ["Cat", "cat-2"]


def test_nothing_is_overwritten_and_runs_stay_apart(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("my.yaml").write_text("mine")
    assert complaint(capsys, "photos", "paintings") == (
        "my.yaml: exists already; --force overwrites it"
    )
    assert Path("my.yaml").read_text() == "mine"
    Path("results", "sea").mkdir()
    assert main(["init", "photos", "paintings", "-o", "Sea.yaml"]) == 0
    assert read_plan("Sea.yaml").config.run == "Sea-2"
    assert main(["init", "photos", "paintings", "-o", "Sea.yaml", "--force"]) == 0
    assert read_plan("Sea.yaml").config.run == "Sea"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nowhere", "paintings"], "nowhere: there is no such file or folder"),
        (["photos", "nowhere"], "nowhere: there is no such file or folder"),
        (["empty", "paintings"], "empty: no image was found; give PNG, JPEG, WebP or TIFF images"),
        (
            ["photos", "paintings", "-o", "photos/dog.png"],
            "photos/dog.png: give a file ending in .yaml",
        ),
        (["photos", "paintings", "-o", "a.yaml"], "a.yaml: give a file ending in .yaml"),
    ],
)
def test_mistakes(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    Path("empty").mkdir()
    Path("a.yaml").mkdir()
    assert complaint(capsys, *words) == line


def test_ids_stay_short_and_different() -> None:
    found: list[str] = []
    for name in ["x" * 100, "X" * 100, "x" * 100, "a", "a-2", "a"]:
        found.append(unique_id(name, found))
    assert len({name.lower() for name in found}) == 6
    assert max(map(len, found)) == 100


@pytest.mark.slow
def test_the_run_that_it_proposes_ends(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nstcore.cli.init_command.LONGEST", 0.0)
    assert main(["init", "photos", "paintings"]) == 0
    root = Path(nstcore.__file__).resolve().parents[1]
    program = "import sys; from nstcore.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "run", "my.yaml", "--cores", "1"]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(Path("results/my/cells").glob("*/*/*.png"))) == 3
    assert Path("results/my/report/index.html").is_file()
