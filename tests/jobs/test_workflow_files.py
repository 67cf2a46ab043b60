"""Which files the rules of the workflow read and write."""

from __future__ import annotations

import re
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nstcore.config.loader import parse_config
from nstcore.errors import StoreError
from nstcore.jobs.workflow_files import (
    LIGHT_JOB,
    WILDCARDS,
    RefineRule,
    RunFiles,
    StylizeRule,
    refined_cell,
    state_of,
)
from nstcore.plan.plan import Plan

MakeFiles = Callable[..., RunFiles]


@pytest.fixture
def make_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeFiles:
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog", "night", "wave", "guide"):
        Image.new("RGB", (8, 8)).save(f"{name}.png")

    def make(**changes: Any) -> RunFiles:
        raw = {
            "run": "one",
            "contents": {"cat": "cat.png", "dog": "dog.png"},
            "styles": {"night": "night.png", "wave": "wave.png"},
            "settings": {"size": 64},
            "evaluation": {"size": 64},
            "sweep": {"axes": {"style_weight": [1, 10]}},
            "device": "cpu",
            **changes,
        }
        return RunFiles(Plan(parse_config(raw)))

    return make


WITHOUT_ONE = [{"style": "night", "content": "cat", "style_weight": 10}]


@pytest.mark.parametrize("batch_by", [[], ["style"], ["content"], ["style", "content"]])
@pytest.mark.parametrize("exclude", [[], WITHOUT_ONE])
def test_the_jobs_make_every_cell_once(
    make_files: MakeFiles, batch_by: list[str], exclude: list[dict[str, Any]]
) -> None:
    axes = {"style_weight": [1, 10]}
    files = make_files(batch_by=batch_by, sweep={"axes": axes, "exclude": exclude})
    rule, folder = StylizeRule(files), "results/one/batches/"
    batches = [
        {"batch": path.removeprefix(folder).removesuffix(".json")} for path in files.manifests
    ]
    assert all(re.fullmatch(WILDCARDS["batch"], batch["batch"]) for batch in batches)
    made = [cell.image for batch in batches for cell in rule.cells(batch)]
    assert sorted(made) == sorted(cell.image for cell in files.plan.cells())
    assert len(made) == 8 - len(exclude)


def test_a_job_reads_the_inputs_of_its_own_cells(make_files: MakeFiles) -> None:
    files = make_files(batch_by=["style"], settings={"size": 96})
    rule = StylizeRule(files)
    inputs = rule.inputs({"batch": "wave"})
    assert inputs["styles"] == ["results/one/inputs/styles/wave/0.png"]
    assert len(inputs["contents"]) == 4, "two contents at two sizes"
    assert {Path(target).parent.name for target in inputs["targets"]} == {"wave"}
    assert inputs["encoders"] == ["results/one/encoders/compact.safetensors"]
    assert inputs["alphas"] == inputs["content_guides"] == inputs["starts"] == []
    for name in ("mem_mb", "runtime"):
        asked = [rule.resources[name]({"batch": "wave"}, attempt) for attempt in (1, 2)]  # type: ignore[operator]
        assert 0 < asked[0] <= asked[1]
    assert rule.resources["gpu"] == 0


def test_guides_are_read_where_there_are_some(make_files: MakeFiles) -> None:
    contents = {"cat": {"path": "cat.png", "guide": "guide.png"}, "dog": "dog.png"}
    styles = {"night": {"path": "night.png", "guide": "guide.png"}, "wave": "wave.png"}
    files = make_files(contents=contents, styles=styles)
    assert files.content_guide_source({"content": "cat"}) == ["guide.png"]
    assert files.content_guide_source({"content": "dog"}) == []
    inputs = files.grid_inputs()
    assert inputs["content_guide_info"] == ["results/one/inputs/contents/cat/64.guide.json"]
    assert inputs["style_guide_info"] == ["results/one/inputs/styles/night/0.guide.json"]
    assert len(inputs["content_info"]) == len(inputs["style_info"]) == 2


def test_outputs_of_a_rule_keep_its_wildcards(make_files: MakeFiles) -> None:
    files = make_files(output={"preserve_alpha": True})
    made = files.contents(["64"])
    assert made["contents"] == ["results/one/inputs/contents/{content}/64.png"]
    assert made["alphas"] == ["results/one/inputs/contents/{content}/64.alpha.png"]


def test_a_refined_cell_needs_its_own_size_and_that_of_the_evaluation(
    make_files: MakeFiles,
) -> None:
    files = make_files(refine={"settings": {"size": 128}})
    assert list(files.plan.refined_sizes) == ["128"]
    assert files.plan.refined_targets
    rule = RefineRule(files)
    job = {"style": "night", "content": "dog", "stem": "style_weight=10"}
    assert rule.batch(job) in files.manifests
    assert rule.record.format(**job) == "results/one/refined/night/dog/style_weight=10.json"
    inputs = rule.inputs(job)
    assert [Path(path).stem for path in inputs["contents"]] == ["128", "64"]
    assert len(inputs["targets"]) == len(set(inputs["targets"])) > 1
    assert files.refined_results()
    with pytest.raises(StoreError, match="is no cell of this run"):
        refined_cell(files.plan, "night", "dog", "style_weight=7")


def test_without_refine_and_compare_nothing_of_them_is_made(make_files: MakeFiles) -> None:
    files = make_files()
    assert files.refined_results() == files.comparison() == []
    assert not files.plan.refined_sizes
    assert not files.plan.refined_targets


def test_a_replaced_source_changes_its_state(make_files: MakeFiles) -> None:
    make_files()
    state = state_of(lambda wildcards: [wildcards["file"], "nowhere.png"])
    before = state({"file": "cat.png"})
    assert before[1] is None
    Image.new("RGB", (9, 9)).save("cat.png")
    assert state({"file": "cat.png"}) != before


def test_states_follow_from_wildcards_alone() -> None:
    """Snakemake makes no job again for a parameter that follows from its input."""
    assert list(signature(state_of(lambda wildcards: [])).parameters) == ["wildcards"]


def test_a_later_attempt_asks_for_more() -> None:
    assert LIGHT_JOB["mem_mb"]({}, 2) > LIGHT_JOB["mem_mb"]({}, 1)
