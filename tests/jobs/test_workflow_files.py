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
    selected_cells,
    state_of,
)
from nstcore.plan.plan import Plan
from nstcore.store.files import write_text

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
    rule, folder = StylizeRule(files), "results/one/manifests/batches/"
    batches = [{"part": path.removeprefix(folder).removesuffix(".json")} for path in files.batches]
    assert all(re.fullmatch(WILDCARDS["part"], batch["part"]) for batch in batches)
    made = [cell.image for batch in batches for cell in rule.cells(batch)]
    assert sorted(made) == sorted(cell.image for cell in files.plan.cells())
    assert len(made) == 8 - len(exclude)


def test_a_job_reads_the_inputs_of_its_own_cells(make_files: MakeFiles) -> None:
    files = make_files(batch_by=["style"], settings={"size": 96})
    rule = StylizeRule(files)
    inputs = rule.inputs({"part": "wave"})
    assert inputs["styles"] == ["results/one/manifests/styles/all.json"]
    assert inputs["contents"] == ["results/one/manifests/contents/all.json"]
    assert inputs["targets"] == ["results/one/manifests/targets/all.json"]
    assert inputs["encoders"] == ["results/one/encoders/compact.safetensors"]
    assert inputs["starts"] == []
    for name in ("mem_mb", "runtime"):
        asked = [rule.resources[name]({"part": "wave"}, attempt) for attempt in (1, 2)]  # type: ignore[operator]
        assert 0 < asked[0] <= asked[1]
    assert rule.resources["gpu"] == 0


def test_batches_that_are_all_made_at_once_compute_their_own_targets(make_files: MakeFiles) -> None:
    for workers, batch_by, first in ((1, [], False), (1, ["style"], True), (2, ["style"], False)):
        rule = StylizeRule(make_files(workers=workers, batch_by=batch_by))
        inputs = rule.inputs({"part": "wave" if batch_by else "all"})
        assert ("targets" in inputs) == first


def test_the_sources_of_a_part_are_its_images_and_guides(make_files: MakeFiles) -> None:
    contents = {"cat": {"path": "cat.png", "guide": "guide.png"}, "dog": "dog.png"}
    styles = {"night": {"path": "night.png", "guide": "guide.png"}, "wave": "wave.png"}
    files = make_files(contents=contents, styles=styles)
    assert files.content_sources({"part": "all"}) == ["cat.png", "guide.png", "dog.png"]
    assert files.style_sources({"part": "all"}) == ["night.png", "guide.png", "wave.png"]


def test_many_inputs_are_prepared_by_several_jobs(make_files: MakeFiles) -> None:
    files = make_files(contents={f"c{number}": "cat.png" for number in range(100)})
    manifests = files.grid_inputs()["contents"]
    assert len(manifests) == 4
    parts = [Path(path).stem for path in manifests]
    found = [name for part in parts for name in files.contents[part]]
    assert sorted(found) == sorted(files.plan.contents)


def test_a_refined_cell_needs_its_own_size_and_that_of_the_evaluation(
    make_files: MakeFiles,
) -> None:
    files = make_files(refine={"settings": {"size": 128}}, batch_by=["style"])
    assert list(files.plan.refined_sizes) == ["128"]
    assert files.plan.refined_targets
    rule = RefineRule(files)
    table = Path("results/one/refined/promoted.tsv")
    write_text(table, "image\nrefined/night/dog/style_weight=10.png\n")
    assert rule.manifests() == ["results/one/manifests/refined/night.json"]
    [cell] = rule.cells({"part": "night"})
    assert (cell.image, cell.settings.size) == ("refined/night/dog/style_weight=10.png", 128)
    inputs = rule.inputs({"part": "night"})
    assert inputs["batch"] == files.batches[:1]
    assert inputs["refined_contents"] == ["results/one/manifests/refined_contents/all.json"]
    assert inputs["refined_targets"] == ["results/one/manifests/refined_targets/all.json"]
    assert files.refined_results()
    write_text(table, "image\nrefined/night/dog/style_weight=7.png\n")
    with pytest.raises(StoreError, match="is no cell of this run"):
        selected_cells(files.plan)


def test_refined_cells_that_take_long_are_made_by_several_jobs(make_files: MakeFiles) -> None:
    axes = {"style_weight": list(range(1, 41))}
    refine = {"choose": [{"style": "night"}], "settings": {"size": 512}}
    cluster = {"target_minutes": 10, "tflops": 0.1}
    files = make_files(refine=refine, sweep={"axes": axes}, cluster=cluster)
    names = [cell.image.replace("cells/", "refined/") for cell in files.plan.refinable]
    write_text("results/one/refined/promoted.tsv", "\n".join(["image", *names]))
    rule = RefineRule(files)
    assert len(rule.parts) > len(files.batches)
    cells = [rule.cells({"part": part}) for part in rule.parts]
    assert len({cell.batch for part in cells for cell in part}) == len(rule.parts)
    assert {rule.inputs({"part": part})["batch"][0] for part in rule.parts} <= {*files.batches}
    made = [cell.image for part in rule.parts for cell in rule.cells({"part": part})]
    assert sorted(made) == sorted(names)
    assert all(re.fullmatch(WILDCARDS["part"], part) for part in rule.parts)


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
