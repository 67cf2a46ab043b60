"""Every command gives one clear line for a mistake, status 1, and no traceback."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from nstcore.cli import main
from nstcore.cli.image_commands import parse_settings
from nstcore.cli.run_command import command, workflow_root
from nstcore.config.loader import parse_config
from nstcore.config.run import schema_text
from nstcore.errors import ConfigError
from nstcore.jobs.prepare import cell_keys
from nstcore.plan.plan import Plan
from nstcore.store.cells import Store


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("COLUMNS", "200")
    for number, name in enumerate(["photo.png", "paint.png"]):
        Image.fromarray(np.full((40, 48, 3), 90 * number, np.uint8)).save(name)
    Path("weights.pth").write_bytes(b"not opened for a plan")
    return tmp_path


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The only line that a command says before it ends with status 1."""
    assert main(words) == 1
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("nst: ")
    return lines[0].removeprefix("nst: ")


def write_config(**values: Any) -> dict[str, Any]:
    raw = {
        "contents": "photo.png",
        "styles": "paint.png",
        "settings": {"encoder": "vgg19", "weights": "weights.pth", "size": 64},
        "sweep": {"axes": {"style_weight": [1, 10, 100]}},
        **values,
    }
    Path("config.yaml").write_text(yaml.safe_dump(raw))
    return raw


class TestStylize:
    @pytest.mark.parametrize(
        ("words", "parts"),
        [
            (["photo.png", "paint.png", "-o", "out.gif"], ["out.gif", ".png"]),
            (["photo.png", "paint.png", "-o", "out"], ["out", ".png"]),
            (["photo.png", "paint.png", "-o", "paint.png"], ["paint.png", "--force"]),
            (["no.png", "paint.png", "-o", "out.png"], ["content", "no.png"]),
            (["photo.png", "no.png", "-o", "out.png"], ["style", "no.png"]),
            (["photo.png", ".", "-o", "out.png"], ["style", "."]),
        ],
    )
    def test_files(
        self, pictures: Path, capsys: pytest.CaptureFixture[str], words: list[str], parts: list[str]
    ) -> None:
        line = complaint(capsys, "stylize", *words)
        for part in parts:
            assert part in line

    @pytest.mark.parametrize(
        ("word", "parts"),
        [
            ("size", ["--set size", "KEY=VALUE"]),
            ("=3", ["KEY=VALUE"]),
            ("size=[1", ["size=[1"]),
            ("sise=64", ["sise", "did you mean `size`?"]),
            ("size=big", ["size", "'big'"]),
            ("size=3", ["size", "32"]),
            ("style_layers=[relu9_9]", ["style_layers", "relu9_9"]),
            ("preset=gaty", ["preset", "gatys"]),
            ("init=file", ["init_file"]),
            ("weights=nowhere.pth", ["weights", "nowhere.pth"]),
            ("init_file=nowhere.png", ["init_file"]),
        ],
    )
    def test_settings(
        self, pictures: Path, capsys: pytest.CaptureFixture[str], word: str, parts: list[str]
    ) -> None:
        words = ["stylize", "photo.png", "paint.png", "-o", "out.png", "--set", word]
        line = complaint(capsys, *words)
        for part in parts:
            assert part in line
        assert not Path("out.png").exists()

    def test_a_broken_picture(self, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
        Path("broken.png").write_bytes(Path("photo.png").read_bytes()[:60])
        line = complaint(capsys, "stylize", "broken.png", "paint.png", "-o", "out.png")
        assert "broken.png" in line

    def test_an_interrupt_in_the_middle_is_one_line(
        self,
        pictures: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def interrupt(*_: object, **__: object) -> None:
            signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr("nstcore.cli.image_commands.Progress.update", interrupt)
        words = ["stylize", "photo.png", "paint.png", "-o", "out.png", "--device", "cpu"]
        # The first entry of the trace interrupts, and 190 iterations are left.
        assert main([*words, "--set", "size=48", "--set", "iterations=200"]) == 130
        assert capsys.readouterr().err.strip().splitlines()[-1] == "nst: interrupted"
        assert not Path("out.png").exists()

    @pytest.mark.parametrize("encoder", ["compact", "vgg19"])
    def test_one_picture(
        self, pictures: Path, capsys: pytest.CaptureFixture[str], encoder: str
    ) -> None:
        words = ["stylize", "photo.png", "paint.png", "-o", "new/out.jpg", "--device", "cpu"]
        for word in ("size=64", "pyramid_start=64", "iterations=2"):
            words += ["--set", word]
        if encoder == "vgg19":
            _write_weights(Path("weights.safetensors"))
            words += ["--set", "encoder=vgg19", "--set", "weights=weights.safetensors"]
        assert main(words) == 0
        said = capsys.readouterr().err
        assert "new/out.jpg: 64 x 53 px" in said
        with Image.open("new/out.jpg") as image:
            assert image.size == (64, 53)
            assert image.format == "JPEG"
        assert main(words) == 1
        assert main([*words, "--force"]) == 0
        names = {path.name for path in pictures.iterdir()}
        assert names - {"weights.safetensors"} == {"photo.png", "paint.png", "weights.pth", "new"}

    def test_weights_of_the_other_encoder(
        self, pictures: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        _write_weights(Path("weights.safetensors"))
        words = ["--set", "weights=weights.safetensors", "-o", "out.png"]
        line = complaint(capsys, "stylize", "photo.png", "paint.png", *words)
        assert "weights.safetensors: not the weights of a compact encoder" in line
        assert "encoder: vgg19" in line

    def test_values_are_read_as_in_the_configuration(self) -> None:
        words = ["size=64", "style_weight=1e3", "weights=a=b.pth", "style_layers=[relu1_1]"]
        words += ["init_file=", "content_layers={relu4_2: 0.5}", "tv_weight = 1"]
        assert parse_settings(words) == {
            "size": 64,
            "style_weight": 1000.0,
            "weights": "a=b.pth",
            "style_layers": ["relu1_1"],
            "init_file": None,
            "content_layers": {"relu4_2": 0.5},
            "tv_weight": 1,
        }

    def test_all_wrong_words_are_named_at_once(self) -> None:
        with pytest.raises(ConfigError) as caught:
            parse_settings(["size", "=1", "a=[", "size=64", "size=128"])
        assert len(caught.value.problems) == 4


class TestPlan:
    def test_it_counts(self, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
        raw = write_config(contents=["photo.png", "paint.png"], batch_by=["content"])
        before = set(pictures.rglob("*"))
        assert main(["plan", "config.yaml", "--no-probe"]) == 0
        said = capsys.readouterr().out
        assert "6 cells in 2 batches" in said
        assert "0 already in the store, 6 to compute" in said
        assert "1, 10, 100" in said
        assert set(pictures.rglob("*")) == before, "looking leaves nothing"
        plan = Plan(parse_config(raw))
        keys = cell_keys(plan)
        assert len(set(keys)) == 6
        store = Store(plan.config.store_dir)
        for key in keys[:2]:
            record = {"image": {"width": 1, "height": 1, "bits": 8}}
            store.put(key, ".png", lambda path: path.write_bytes(b"x") and None, record)
        assert main(["plan", "config.yaml", "--no-probe"]) == 0
        assert "2 already in the store, 4 to compute" in capsys.readouterr().out

    def test_weights_that_are_not_here_yet(
        self, pictures: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_config(settings={"size": 64, "encoder": "vgg19"})
        assert main(["plan", "config.yaml", "--no-probe"]) == 0
        said = capsys.readouterr().out
        assert "3 cells in 1 batch\n" in said
        assert "what the store has is not known yet" in said
        assert "warning: vgg19: there is no file" in said

    def test_mistakes(self, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "no.yaml" in complaint(capsys, "plan", "no.yaml")
        write_config(setings={})
        assert "did you mean `settings`?" in complaint(capsys, "plan", "config.yaml")
        write_config(contents="nowhere")
        assert "nowhere" in complaint(capsys, "plan", "config.yaml")
        Path("photo.png").write_bytes(b"no picture")
        write_config()
        assert main(["plan", "config.yaml", "--no-probe"]) == 1
        said = capsys.readouterr()
        assert re.fullmatch(r"nst: .*photo\.png: .*\n", said.err)
        assert "3 cells" in said.out, "what can be told is told"

    def test_everything_for_programs(
        self, pictures: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Image.new("RGB", (400, 20)).save("wide.png")
        weights = [float(number) for number in range(1, 61)]
        write_config(
            contents=["photo.png", "wide.png"],
            settings={"encoder": "vgg19", "weights": "weights.pth", "size": 800},
            sweep={"axes": {"style_weight": weights}},
            evaluation={"size": 64},
            batch_by=["style", "content"],
        )
        assert main(["plan", "config.yaml", "--no-probe", "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["cells"], said["present"], said["new"]) == (120, 0, 120)
        assert said["axes"]["style_weight"] == weights
        assert said["seconds"] is None
        assert set(said["batches"]) == {"paint/photo", "paint/wide"}
        assert said["batches"]["paint/photo"]["memory_bytes"] > 1e8
        assert said["disk_bytes"]["total"] > said["disk_bytes"]["pictures"] > 0
        assert [sheet["name"] for sheet in said["sheets"]] == ["all"]
        kinds = sorted(line.split(":")[0] for line in said["warnings"])
        assert kinds == ["contents.wide", "report"]
        assert said["problems"] == []

    def test_names_too_long_are_told_and_not_stumbled_over(
        self, pictures: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_config(results="x" * 300)
        assert main(["plan", "config.yaml", "--no-probe"]) == 0
        said = capsys.readouterr().out
        assert "warning: results: the name xxx" in said
        assert "what the store has is not known yet" in said

    def test_what_cannot_be_prepared_is_not_tried(
        self, pictures: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_config(settings={"size": 32768, "encoder": "vgg19", "weights": "weights.pth"})
        assert main(["plan", "config.yaml", "--no-probe", "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["present"] is None
        assert "895 megapixels" in said["warnings"][0]

    def test_refined_cells_are_counted_at_most(
        self, pictures: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        refine = {"count": 2, "settings": {"size": 1024}}
        write_config(settings={"size": 64}, contents=["photo.png", "paint.png"], refine=refine)
        assert main(["plan", "config.yaml", "--no-probe"]) == 0
        assert "up to 4 cells refined" in capsys.readouterr().out
        assert main(["plan", "config.yaml", "--no-probe", "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        small = max(batch["memory_bytes"] for batch in said["batches"].values())
        assert all(one["memory_bytes"] > small for one in said["refined_at_most"].values())
        assert sum(one["new"] for one in said["refined_at_most"].values()) == 4

    def test_a_device_that_is_not_there(
        self, pictures: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_config(device="mps")
        assert main(["plan", "config.yaml"]) == 0
        assert "warning: device: mps is not available" in capsys.readouterr().out

    @pytest.mark.slow
    def test_it_tells_the_time(self, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_config(settings={"size": 64}, sweep={"axes": {"iterations": [10, 1000]}})
        before = set(pictures.rglob("*"))
        assert main(["plan", "config.yaml", "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["seconds"] > 1
        assert said["seconds_all"] == pytest.approx(said["seconds"])
        assert set(pictures.rglob("*")) == before, "looking leaves nothing"
        Path("results/.store").mkdir(parents=True)
        seconds = []
        for iterations in (10, 1000):
            write_config(settings={"size": 64}, sweep={"axes": {"iterations": [iterations]}})
            assert main(["plan", "config.yaml", "--json"]) == 0
            seconds.append(json.loads(capsys.readouterr().out)["seconds"])
        assert seconds[1] > seconds[0]
        assert main(["plan", "config.yaml"]) == 0
        assert re.search(r"^time: about .* for what is missing", capsys.readouterr().out, re.M)


class TestGc:
    def test_it_says_what_it_did(self, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
        store = Store("results/.store")
        record = {"image": {"width": 1, "height": 1, "bits": 8}}
        for key in ("a" * 64, "b" * 64):
            store.put(key, ".png", lambda path: path.write_bytes(b"x") and None, record)
        run = Path("results/run")
        run.mkdir()
        (run / "grid.tsv").write_text("style\tkey\nnight\t" + "a" * 64 + "\n")
        assert main(["gc", "--dry-run"]) == 0
        assert "would remove 1 cells" in capsys.readouterr().out
        assert list(store.keys()) == ["a" * 64, "b" * 64]
        assert main(["gc"]) == 0
        assert "removed 1 cells" in capsys.readouterr().out
        assert list(store.keys()) == ["a" * 64]

    def test_mistakes(self, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "results" in complaint(capsys, "gc")
        Path("results").mkdir()
        assert "--store" in complaint(capsys, "gc")
        assert "elsewhere" in complaint(capsys, "gc", "--results", "elsewhere")


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    said = capsys.readouterr().out
    assert said == schema_text()
    assert json.loads(said)["title"] == "Config"


@pytest.mark.parametrize(
    "words", [[], ["nonsense"], ["plan"], ["plan", "a.yaml", "--cores", "2"], ["stylize", "a", "b"]]
)
def test_wrong_arguments_are_status_2(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: nst" in capsys.readouterr().err


class TestRun:
    def test_a_wrong_configuration_starts_nothing(
        self, pictures: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_config(setings={})
        assert "did you mean `settings`?" in complaint(capsys, "run", "config.yaml", "-n")
        assert not Path(".snakemake").exists()

    def test_own_options_come_last(self) -> None:
        root = workflow_root()
        words = command(Path("my.yaml"), ["-n", "--cores", "4"], root)
        assert words[-3:] == ["-n", "--cores", "4"]
        assert words[words.index("--configfile") + 1] == "my.yaml"
        assert words[words.index("--workflow-profile") + 1] == str(root / "profiles" / "default")

    @pytest.mark.parametrize("option", [["--profile", "x"], ["--workflow-profile=x"]])
    def test_an_own_profile_replaces_the_default(self, option: list[str]) -> None:
        words = command(Path("my.yaml"), option, workflow_root())
        assert str(workflow_root() / "profiles" / "default") not in words

    def test_slurm_takes_the_profile_here_or_else_the_one_beside_the_workflow(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        root = workflow_root()
        words = command(Path("my.yaml"), ["--jobs", "4"], root, slurm=True)
        there = words.index("--workflow-profile") + 1
        assert words[there] == str(root / "profiles" / "slurm")
        assert words[-2:] == ["--jobs", "4"]
        Path("profiles", "slurm").mkdir(parents=True)
        words = command(Path("my.yaml"), [], root, slurm=True)
        assert words[there] == str(tmp_path.resolve() / "profiles" / "slurm")

    def test_slurm_without_slurm_is_one_line(
        self, pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_config()
        monkeypatch.setenv("PATH", "")
        assert "--slurm" in complaint(capsys, "run", "config.yaml", "--slurm", "-n")

    def test_the_workflow_is_found(self) -> None:
        assert (workflow_root() / "Snakefile").is_file()


def _write_weights(path: Path) -> None:
    """Random values in the shape of VGG-19 down to relu5_1."""
    import torch
    from safetensors.torch import save_file

    from nstcore.core.encoders import LAYERS, channels, torchvision_index

    random = torch.Generator().manual_seed(7)
    state, incoming = {}, 3
    for layer in LAYERS[: LAYERS.index("relu5_1") + 1]:
        outgoing, index = channels(layer), torchvision_index(layer)
        weight = torch.randn(outgoing, incoming, 3, 3, generator=random) * (2 / 9 / incoming) ** 0.5
        state[f"features.{index}.weight"] = weight.half()
        state[f"features.{index}.bias"] = torch.zeros(outgoing).half()
        incoming = outgoing
    save_file(state, path)
