"""The plan is the product of everything, and growing it moves nothing that is there."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nstcore.config.loader import parse_config
from nstcore.core.settings import Settings
from nstcore.errors import ConfigError
from nstcore.plan.keys import cell_key, style_identity
from nstcore.plan.plan import Cell, Plan

AXES: dict[str, st.SearchStrategy[Any]] = {
    "style_weight": st.floats(0, 1e6),
    "size": st.integers(32, 4096),
    "init": st.sampled_from(["noise", "style"]),
    "optimizer": st.sampled_from(["lbfgs", "adam"]),
    "iterations": st.integers(1, 300),
}
NAMES = [f"picture{number}" for number in range(6)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name in NAMES:
        (folder / f"{name}.png").touch()
    return folder


@st.composite
def raw_configs(draw: st.DrawFn) -> dict[str, Any]:
    """Configurations whose inputs are ids; :func:`plan_of` gives them files."""
    names = draw(st.lists(st.sampled_from(sorted(AXES)), max_size=3, unique=True))
    axes = {
        name: draw(st.lists(AXES[name], min_size=1, max_size=3, unique_by=float_or_text))
        for name in names
    }
    by = ["style", "content", "seed", *names]
    return {
        "contents": draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True)),
        "styles": draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)),
        "settings": {} if "init" in axes else {"init": "noise"},
        "sweep": {"axes": axes, "seeds": draw(st.integers(1, 3))},
        "batch_by": draw(st.lists(st.sampled_from(by), unique=True)),
        "batch_split": draw(st.none() | st.integers(1, 4)),
        "max_cells_per_batch": draw(st.integers(1, 20)),
    }


def float_or_text(value: Any) -> Any:
    return value if isinstance(value, str) else float(value)


def plan_of(raw: dict[str, Any], folder: Path) -> Plan:
    files = {
        key: {name: str(folder / f"{name}.png") for name in raw[key]}
        for key in ("contents", "styles")
    }
    return Plan(parse_config({**raw, **files}))


def key_of(cell: Cell) -> str:
    """A cell's key, with ids in place of digests of pictures."""
    return cell_key(
        cell.settings,
        seed=cell.point.seed,
        content=cell.content,
        style=style_identity([cell.style], [1.0]),
        encoder="encoder",
        output=parse_config({"contents": "a", "styles": "b"}).output,
    )


@given(raw=raw_configs())
def test_the_plan_is_the_product(folder: Path, raw: dict[str, Any]) -> None:
    plan = plan_of(raw, folder)
    axes = raw["sweep"]["axes"]
    expected = [
        (style, content, dict(zip(axes, values, strict=True)), seed)
        for style in raw["styles"]
        for content in raw["contents"]
        for values in itertools.product(*axes.values())
        for seed in range(raw["sweep"]["seeds"])
    ]
    cells = list(plan.cells())
    assert [(c.style, c.content, c.point.values, c.point.seed) for c in cells] == expected
    assert plan.cell_count == len(expected)
    for cell in cells:
        wanted = {**raw["settings"], **cell.point.values}
        assert cell.settings == Settings.model_validate(wanted)
    images = [cell.image for cell in cells]
    assert len({image.lower() for image in images}) == len(images)


@given(raw=raw_configs())
def test_batches_divide_the_cells(folder: Path, raw: dict[str, Any]) -> None:
    plan = plan_of(raw, folder)
    by = raw["batch_by"]
    seen: list[Cell] = []
    for name, batch in plan.batches.items():
        assert {cell.batch for cell in batch} == {name}
        for axis in by:
            assert len({repr(cell.axes[axis]) for cell in batch}) == 1
        seen += batch
    assert sorted(c.image for c in seen) == sorted(c.image for c in plan.cells())
    assert {c.image: c.batch for c in seen} == {c.image: c.batch for c in plan.cells()}


@given(raw=raw_configs(), data=st.data())
def test_growing_moves_no_cell(folder: Path, raw: dict[str, Any], data: st.DataObject) -> None:
    """Another content, style or value: paths, keys and batches of the cells that were stay."""
    raw["batch_split"] = raw["batch_split"] or 1
    before = {c.image: (key_of(c), c.batch) for c in plan_of(raw, folder).cells()}
    grown = {**raw, "sweep": {**raw["sweep"], "axes": dict(raw["sweep"]["axes"])}}
    what = data.draw(st.sampled_from(["contents", "styles", "seeds", *raw["sweep"]["axes"]]))
    if what in ("contents", "styles"):
        new = next(name for name in NAMES if name not in raw[what])
        place = data.draw(st.integers(0, len(raw[what])))
        grown[what] = [*raw[what][:place], new, *raw[what][place:]]
    elif what == "seeds":
        grown["sweep"]["seeds"] = raw["sweep"]["seeds"] + 1
    else:
        old = raw["sweep"]["axes"][what]
        value = data.draw(AXES[what].filter(lambda v: v not in old), label="value")
        place = data.draw(st.integers(0, len(old)))
        grown["sweep"]["axes"][what] = [*old[:place], value, *old[place:]]
    after = {c.image: (key_of(c), c.batch) for c in plan_of(grown, folder).cells()}
    assert len(after) > len(before)
    assert {image: after[image] for image in before} == before


@given(raw=raw_configs(), random=st.randoms(use_true_random=False))
def test_the_order_of_keys_changes_no_cell(folder: Path, raw: dict[str, Any], random: Any) -> None:
    def shuffled(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        items = [(name, shuffled(inner)) for name, inner in value.items()]
        random.shuffle(items)
        return dict(items)

    def cells(given: dict[str, Any]) -> dict[str, Any]:
        return {
            key_of(c): (c.style, c.content, c.settings, c.point.seed)
            for c in plan_of(given, folder).cells()
        }

    assert cells(shuffled(raw)) == cells(raw)


@given(raw=raw_configs())
def test_no_job_is_too_large_when_buckets_are_fair(folder: Path, raw: dict[str, Any]) -> None:
    """Hash buckets are even on average: as many as are needed, and no more than points."""
    raw["batch_split"] = None
    plan = plan_of(raw, folder)
    by = set(raw["batch_by"])
    pairs = (1 if "style" in by else len(plan.styles)) * (
        1 if "content" in by else len(plan.contents)
    )
    for name, batch in plan.batches.items():
        if "part" not in name:
            points = len({cell.point.stem for cell in batch})
            assert points == 1 or pairs * points <= raw["max_cells_per_batch"]


def test_a_value_in_two_spellings_is_one_too_many(folder: Path) -> None:
    raw = {"contents": NAMES[:1], "styles": NAMES[:1]}
    with pytest.raises(ConfigError, match="style_weight=10; remove one"):
        plan_of({**raw, "sweep": {"axes": {"style_weight": [10, 10.0]}}}, folder)


def test_seeds_that_cannot_matter_are_an_error(folder: Path) -> None:
    raw = {"contents": NAMES[:1], "styles": NAMES[:1], "sweep": {"seeds": 2}}
    with pytest.raises(ConfigError, match=r"sweep\.seeds: .*init_noise"):
        plan_of({**raw, "settings": {"init": "content"}}, folder)


def test_one_seed_that_is_given_stands_in_the_name(folder: Path) -> None:
    raw = {"contents": NAMES[:1], "styles": NAMES[:1]}
    assert next(plan_of(raw, folder).cells()).image.endswith("/default.png")
    seeded = plan_of({**raw, "sweep": {"seeds": [7]}}, folder)
    assert next(seeded.cells()).image.endswith("/default,seed=7.png")


def test_all_mistakes_of_inputs_and_sweep_come_together() -> None:
    raw = {
        "contents": "nowhere",
        "styles": "neither",
        "settings": {"content_weight": 0},
        "sweep": {"axes": {"style_weight": [0, 1]}},
    }
    with pytest.raises(ConfigError) as caught:
        Plan(parse_config(raw))
    assert len(caught.value.problems) == 3


@given(raw=raw_configs())
def test_every_axis_has_one_place_on_the_sheets(folder: Path, raw: dict[str, Any]) -> None:
    plan = plan_of(raw, folder)
    placed = [axis for axes in plan.layout.values() for axis in axes]
    assert len(placed) == len(set(placed))
    several = {axis for axis, values in plan.axis_values.items() if len(values) > 1}
    assert several <= set(placed) <= set(plan.axis_values)


@pytest.mark.parametrize(
    ("settings", "evaluation", "judge"),
    [
        ({}, {}, ("compact", None)),
        ({}, {"encoder": "vgg19"}, ("vgg19", None)),
        ({"encoder": "vgg19", "weights": "PICTURE"}, {}, ("vgg19", "PICTURE")),
        ({"encoder": "vgg19", "weights": "PICTURE"}, {"encoder": "compact"}, ("compact", None)),
        ({"weights": {"vgg19": "PICTURE"}}, {"encoder": "vgg19"}, ("vgg19", "PICTURE")),
        ({"weights": {"vgg19": "PICTURE"}}, {}, ("compact", None)),
    ],
)
def test_who_judges(
    folder: Path,
    settings: dict[str, Any],
    evaluation: dict[str, Any],
    judge: tuple[str, str | None],
) -> None:
    picture = str(folder / "picture0.png")
    text = json.dumps({"settings": settings, "evaluation": evaluation})
    raw = {"contents": picture, "styles": picture, **json.loads(text.replace("PICTURE", picture))}
    found = Plan(parse_config(raw)).evaluation
    expected = judge[1] and judge[1].replace("PICTURE", picture)
    assert (found["encoder"], found["weights"]) == (judge[0], expected)


def test_files_that_settings_name_have_to_be_there(folder: Path) -> None:
    picture = str(folder / "picture0.png")
    config = parse_config(
        {
            "contents": picture,
            "styles": picture,
            "settings": {"init": "file", "init_file": "start.png"},
            "sweep": {"axes": {"weights": [picture, "none.pth"]}},
            "evaluation": {"weights": "judge.pth"},
        }
    )
    with pytest.raises(ConfigError) as caught:
        Plan(config)
    assert [line.split(" (")[0] for line in caught.value.problems] == [
        "evaluation.weights: there is no file judge.pth",
        "init_file: there is no file start.png",
        "weights: there is no file none.pth",
    ]


def test_the_name_of_a_group_fits_a_file_name(folder: Path) -> None:
    picture = str(folder / "picture0.png")
    axes = {
        "style_layers": [[f"relu{s}_1" for s in range(1, 6)], [f"relu{s}_2" for s in range(1, 6)]],
        "content_layers": [["relu3_1", "relu3_2", "relu3_3", "relu4_1", "relu4_2", "relu4_3"]],
        "iterations": [list(range(100, 120))],
    }
    config = parse_config(
        {
            "contents": picture,
            "styles": picture,
            "settings": {"encoder": "vgg19"},
            "sweep": {"axes": axes},
            "batch_by": ["style", *axes],
        }
    )
    names = [name.rpartition("/")[2] for name in Plan(config).batches]
    assert len(set(names)) == 2
    assert all(len(name) < 200 for name in names)
