"""What is said of a run's jobs, and the speed that a machine tells a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from nstcore.cli import main
from nstcore.cli.plan_command import job_requests, job_summary
from nstcore.config.loader import parse_config
from nstcore.core.settings import Settings
from nstcore.plan.cost_model import cell_flops
from nstcore.plan.plan import Plan
from nstcore.resources.estimate import InputSizes, Machine, as_yaml, measured_tflops
from nstcore.resources.throughput import IterationTime, Throughput, iteration_key


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    for name in ("photo.png", "paint.png"):
        Image.fromarray(pixels).save(name)
    return {
        "contents": {"photo": "photo.png"},
        "styles": {"paint": "paint.png"},
        "settings": {"size": 64, "pyramid_start": 64, "iterations": 5},
        "sweep": {"axes": {"style_weight": [1, 2, 3]}},
        "evaluation": {"size": 64},
        "device": "cpu",
    }


def test_a_machine_is_as_fast_as_its_iterations(raw: dict[str, Any]) -> None:
    plan = Plan(parse_config(raw))
    settings = next(plan.cells()).settings
    # An iteration of however many pictures takes a second: 5, and one for the targets.
    rates = Throughput(
        "a CPU", 0, 0, 0, 0, 0, {iteration_key(settings, "float32"): IterationTime(1, 0, 0)}
    )
    found = measured_tflops(plan, InputSizes.of(plan), Machine("cpu", 1e12), rates)
    own = cell_flops(Settings.model_validate(raw["settings"]), (64, 51))
    assert found == {"compact": pytest.approx(1e-12 * 3 * own / 6)}
    text = as_yaml(found, rates.device)
    assert text.endswith("# a CPU\n")
    again = Plan(parse_config({**raw, **yaml.safe_load(text)})).config.cluster.tflops
    assert again == {"compact": pytest.approx(found["compact"], rel=0.01)}


def test_jobs_are_told_in_a_sentence(raw: dict[str, Any]) -> None:
    plan = Plan(parse_config({**raw, "device": "auto", "batch_by": ["style"]}))
    jobs = job_requests(plan)
    [job] = jobs.values()
    assert job["cells"] == 3
    assert job["gpu_mem_mb"] > 0
    said = job_summary(jobs)
    assert f"ask for up to {job['runtime']} min" in said
    assert "of the GPU" in said


@pytest.mark.slow
def test_what_is_printed_goes_into_a_configuration(
    raw: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("grid.yaml").write_text(yaml.safe_dump(raw))
    assert main(["plan", "grid.yaml", "--calibrate"]) == 0
    said = capsys.readouterr().out
    config = parse_config({**raw, **yaml.safe_load(said)})
    assert isinstance(config.cluster.tflops, dict)
    assert 1e-4 < config.cluster.tflops["compact"] < 100


def test_a_speed_is_a_number_above_zero(
    raw: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in (0, -1, {"vgg16": 3}, {"compact": 0}, "fast"):
        Path("grid.yaml").write_text(yaml.safe_dump({**raw, "cluster": {"tflops": wrong}}))
        assert main(["plan", "grid.yaml", "--no-probe"]) == 1
        said = capsys.readouterr().err
        assert "cluster.tflops" in said
        assert "Traceback" not in said


def test_a_status_of_nothing_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(tmp_path / "nowhere")]) == 1
    assert "no run has started there" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["status", str(tmp_path), "--watch", "--every", "0"])
    assert caught.value.code == 2
    assert "not a number above 0" in capsys.readouterr().err
