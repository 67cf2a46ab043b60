"""Sweeps with conditions: what is left is what a plain enumeration leaves."""

from __future__ import annotations

import itertools
import os
import random as random_module
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import assume, given, note
from hypothesis import strategies as st

from nstcore.config.loader import parse_config
from nstcore.config.yaml_files import dump_yaml
from nstcore.errors import ConfigError
from nstcore.plan.keys import cell_key, style_identity
from nstcore.plan.plan import Cell, Plan
from nstcore.plan.snapshot import read_plan, write_snapshot

ROOT = Path(__file__).resolve().parents[2]
NAMES = [f"picture{number}" for number in range(5)]
VALUES: dict[str, list[Any]] = {
    "style_weight": [1, 10, 100.5, 3],
    "size": [64, 96, 128, 160],
    "pooling": ["max", "avg", "l2"],
    "tv_weight": [0, 0.1, 8, 2],
    "look": ["soft", "hard", "plain"],
}
LOOKS = {
    "soft": {"title": "Soft", "padding": "reflect", "style_layers": {"relu1_1": 0.5, "relu3_1": 1}},
    "hard": {"padding": "zeros"},
    "plain": {},
}
CONDITIONS = [
    "style_weight <= 10 or size < 128",
    "not (pooling == 'max' and tv_weight == 0)",
    "1 < style_weight / 2 + tv_weight * 3 <= 60",
    "style in ['picture0', 'picture2'] or content != 'picture1'",
    "look != 'hard' and seed < 2",
    "size - 32 > 40",
]
DEFAULTS = {"style_weight": 5.0, "size": 512, "pooling": "max", "tv_weight": 8.0}
Row = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name in NAMES:
        (folder / f"{name}.png").touch()
    return folder


@st.composite
def raw_configs(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=3, unique=True))
    axes = {
        name: draw(st.lists(st.sampled_from(VALUES[name]), min_size=1, max_size=3, unique=True))
        for name in names
    }
    styles = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    contents = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    seeds = draw(st.integers(1, 3))
    every = {"style": styles, "content": contents, **axes, "seed": list(range(seeds))}
    zips = []
    plain = [name for name in names if name != "look"]
    if len(plain) > 1 and draw(st.booleans()):
        pair = draw(st.permutations(plain))[:2]
        shorter = min(len(axes[name]) for name in pair)
        for name in pair:
            every[name] = axes[name] = axes[name][:shorter]
        zips = [pair]
    known = list(every)

    def partial(values: Mapping[str, list[Any]]) -> st.SearchStrategy[Row]:
        chosen = st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True)
        return chosen.flatmap(
            lambda keys: st.fixed_dictionaries({k: st.sampled_from(values[k]) for k in keys})
        )

    # An included cell may have a new value, but for a bundle, whose values are names of something.
    wider = {**every, **{name: VALUES[name] for name in names if name != "look"}}
    where = draw(st.none() | st.sampled_from(CONDITIONS))
    if where is not None and "look" in where and "look" not in axes:
        where = None
    return {
        "contents": contents,
        "styles": styles,
        "settings": {"init": "noise"},
        "sweep": {
            "axes": axes,
            "zip": zips,
            "exclude": draw(st.lists(partial(every), max_size=2)),
            "include": draw(st.lists(partial(wider), max_size=2)),
            "where": where,
            "seeds": seeds,
        },
        "batch_by": draw(
            st.lists(st.sampled_from(["style", "content", "seed", *names]), unique=True)
        ),
        "batch_split": draw(st.integers(1, 3)),
    }


def with_files(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    sweep = dict(raw["sweep"])
    if "look" in sweep["axes"]:
        looks = {name: LOOKS[name] for name in sweep["axes"]["look"]}
        sweep["axes"] = {
            name: looks if name == "look" else values for name, values in sweep["axes"].items()
        }
    if sweep["where"] is None:
        del sweep["where"]
    files = {
        key: {name: str(folder / f"{name}.png") for name in raw[key]}
        for key in ("contents", "styles")
    }
    return {**raw, **files, "sweep": sweep}


def plan_of(raw: dict[str, Any], folder: Path) -> Plan:
    return Plan(parse_config(with_files(raw, folder)))


def sensible_plan(raw: dict[str, Any], folder: Path) -> Plan:
    """The plan; configurations of which a part means nothing are left to other tests."""
    try:
        return plan_of(raw, folder)
    except ConfigError as error:
        note(str(error))
        assume(False)
        raise


def key_of(cell: Cell) -> str:
    return cell_key(
        cell.settings,
        seed=cell.point.seed,
        content=cell.content,
        style=style_identity([cell.style], [1.0]),
        encoder="encoder",
        output=parse_config({"contents": "a", "styles": "b"}).output,
    )


def rows(raw: dict[str, Any], fixed: Row) -> Iterator[Row]:
    """Every row that has the fixed values: by trying all combinations there could be."""
    axes = raw["sweep"]["axes"]
    lists = {
        "style": raw["styles"],
        "content": raw["contents"],
        **axes,
        "seed": list(range(raw["sweep"]["seeds"])),
    }
    tried = {key: [fixed[key]] if key in fixed else values for key, values in lists.items()}
    for combination in itertools.product(*tried.values()):
        row = dict(zip(tried, combination, strict=True))
        for names in raw["sweep"]["zip"]:
            free = all(name in fixed for name in names)
            together = zip(*(axes[name] for name in names), strict=True)
            if not free and tuple(row[name] for name in names) not in set(together):
                break
        else:
            yield row


def frozen_row(row: Row) -> tuple[Any, ...]:
    return tuple(sorted(row.items()))


def enumerate_cells(raw: dict[str, Any]) -> set[tuple[Any, ...]] | None:
    """The cells by brute force; None where a part of the sweep means nothing."""
    every = list(rows(raw, {}))
    kept = list(every)
    for partial in raw["sweep"]["exclude"]:
        matching = [row for row in every if partial.items() <= row.items()]
        if not matching:
            return None
        kept = [row for row in kept if row not in matching]
    where = raw["sweep"]["where"]
    if where is not None:
        kept = [row for row in kept if eval(where, {}, {**DEFAULTS, **row})]
    if not kept and not raw["sweep"]["include"]:
        return None
    found = {frozen_row(row) for row in kept}
    for partial in raw["sweep"]["include"]:
        added = {frozen_row(row) for row in rows(raw, partial)}
        if not added - found:
            return None
        found |= added
    return found


@given(raw=raw_configs())
def test_the_plan_is_what_an_enumeration_leaves(folder: Path, raw: dict[str, Any]) -> None:
    expected = enumerate_cells(raw)
    if expected is None:
        with pytest.raises(ConfigError, match=r"^sweep\."):
            plan_of(raw, folder)
        return
    cells = list(plan_of(raw, folder).cells())
    found = [frozen_row(cell.axes) for cell in cells]
    assert len(found) == len(set(found))
    assert set(found) == expected
    for cell in cells:
        assert cell.settings.pooling == cell.axes.get("pooling", DEFAULTS["pooling"])
        assert cell.settings.size == cell.axes.get("size", DEFAULTS["size"])
        if "look" in cell.axes:
            look = {k: v for k, v in LOOKS[cell.axes["look"]].items() if k != "title"}
            assert {k: getattr(cell.settings, k) for k in look} == look
    assert len({cell.image.lower() for cell in cells}) == len(cells)


@given(raw=raw_configs())
def test_batches_divide_the_cells_and_their_names_are_paths(
    folder: Path, raw: dict[str, Any]
) -> None:
    plan = sensible_plan(raw, folder)
    made = [cell.image for batch in plan.batches.values() for cell in batch]
    assert sorted(made) == sorted(cell.image for cell in plan.cells())
    names = [PurePosixPath(name) for name in plan.batches]
    assert not any(".." in name.parts or name.is_absolute() for name in names)
    assert len({str(name).lower() for name in names}) == len(names)


@given(raw=raw_configs(), random=st.randoms(use_true_random=False))
def test_the_order_of_keys_changes_no_key_and_no_batch(
    folder: Path, raw: dict[str, Any], random: random_module.Random
) -> None:
    def shuffled(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        items = [(name, shuffled(inner)) for name, inner in value.items()]
        random.shuffle(items)
        return dict(items)

    def cells(plan: Plan) -> dict[Any, Any]:
        return {frozen_row(c.axes): (key_of(c), c.batch) for c in plan.cells()}

    before = cells(sensible_plan(raw, folder))
    assert cells(Plan(parse_config(shuffled(with_files(raw, folder))))) == before


@given(raw=raw_configs(), data=st.data())
def test_growing_moves_no_cell(folder: Path, raw: dict[str, Any], data: st.DataObject) -> None:
    before = {c.image: (key_of(c), c.batch) for c in sensible_plan(raw, folder).cells()}
    grown = {**raw, "sweep": {**raw["sweep"], "axes": dict(raw["sweep"]["axes"])}}
    zipped = {name for names in raw["sweep"]["zip"] for name in names}
    what = data.draw(st.sampled_from(["contents", "styles", *sorted(grown["sweep"]["axes"])]))
    if what in ("contents", "styles"):
        new = next(name for name in NAMES if name not in raw[what])
        grown[what] = [new, *raw[what]]
    else:
        for name in zipped if what in zipped else [what]:
            old = raw["sweep"]["axes"][name]
            left = [value for value in VALUES[name] if value not in old]
            assume(left)
            grown["sweep"]["axes"][name] = [left[0], *old]
    # What was included may now be in the product; then it is only said twice.
    after = {c.image: (key_of(c), c.batch) for c in sensible_plan(grown, folder).cells()}
    assert {image: after[image] for image in before} == before


@given(raw=raw_configs())
def test_it_comes_back_from_the_frozen_configuration(folder: Path, raw: dict[str, Any]) -> None:
    plan = sensible_plan({**raw, "results": str(folder / "results")}, folder)
    again = read_plan(write_snapshot(plan))
    assert list(again.cells()) == list(plan.cells())
    assert again.batches == plan.batches
    assert again.axis_values == plan.axis_values
    assert again.titles == plan.titles


def test_the_plan_is_the_same_in_every_process(folder: Path, tmp_path: Path) -> None:
    raw = {
        "contents": NAMES[:3],
        "styles": NAMES[:2],
        "settings": {"init": "noise"},
        "sweep": {
            "axes": {"look": ["soft", "plain"], "size": [64, 96], "tv_weight": [0, 8]},
            "zip": [["size", "tv_weight"]],
            "exclude": [{"style": "picture0", "size": 64}, {"content": "picture1", "look": "soft"}],
            "include": [{"size": 100, "tv_weight": 3, "content": "picture2"}],
            "where": "size < 90 or content != 'picture0'",
            "seeds": 2,
        },
        "batch_by": ["style", "content", "look"],
        "batch_split": 2,
    }
    file = tmp_path / "config.yaml"
    file.write_text(dump_yaml(with_files(raw, folder)))
    program = """if True:
        import sys
        from nstcore.config.loader import parse_config
        from nstcore.config.yaml_files import read_yaml
        from nstcore.plan.plan import Plan
        plan = Plan(parse_config(read_yaml(sys.argv[1])))
        print([(c.image, c.batch, c.settings) for c in plan.cells()])
        print(plan.batches, plan.axis_values, plan.digest_of(plan.cells()))
        assert "torch" not in sys.modules and "scipy" not in sys.modules
    """
    said = [
        subprocess.run(
            [sys.executable, "-c", program, str(file)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert said[0] == said[1]
    assert "picture2" in said[0]


class TestMistakes:
    @pytest.mark.parametrize(
        ("sweep", "line"),
        [
            (
                {"exclude": [{"style": "picture0", "tv_weight": 3}]},
                "exclude[0].tv_weight: the axis has no 3",
            ),
            (
                {"exclude": [{"style": "pictur0"}]},
                "exclude[0].style: unknown style 'pictur0'; did",
            ),
            ({"exclude": [{"size": 64}]}, "exclude[0].size: unknown axis `size`"),
            (
                {"exclude": [{"tv_weight": 0}, {"tv_weight": "x"}]},
                "exclude[1].tv_weight: input should be a valid number",
            ),
            (
                {"zip": [["history", "tv_weight"]], "exclude": [{"history": 5, "tv_weight": 1}]},
                "exclude[0]: history: 5, tv_weight: 1 matches no cell",
            ),
            (
                {"zip": [["tv_weight", "look"]]},
                "zip[0]: the values of the bundle `look` have no order",
            ),
            ({"zip": [["look", "twist"]]}, "zip[0]: unknown axis `twist`"),
            ({"zip": [["look", "look"]]}, "zip[0]: `look` appears twice"),
            ({"zip": [["style_weight", "history"]]}, "zip[0]: all axes need equally many values"),
            ({"include": [{"tv_weight": 0}]}, "include[0]: the grid already has tv_weight: 0"),
            ({"include": [{"look": "c"}]}, "include[0].look: 'c' is none of a, b"),
            ({"include": [{"seed": 3}]}, "include[0].seed: give `sweep.seeds` too"),
            (
                {"zip": [["history", "tv_weight"]], "include": [{"tv_weight": 7}]},
                "include[0]: tv_weight: 7 is new; give `history` too, which is zipped with it",
            ),
            ({"include": [{}]}, "include[0]: dictionary should have at least 1 item"),
            ({"where": "style_weight > 1000"}, "where: no cell is left"),
            ({"where": "stile_weight > 1000"}, "where: unknown axis or setting `stile_weight`"),
            ({"where": "look < 3"}, "where: `look < 3` cannot compare 'a' with 3"),
            ({"exclude": [{"tv_weight": 0}, {"tv_weight": 1}]}, "exclude: no cell is left"),
        ],
    )
    def test_what_means_nothing_is_named(
        self, folder: Path, sweep: dict[str, Any], line: str
    ) -> None:
        axes = {
            "style_weight": [1, 2, 3],
            "tv_weight": [0, 1],
            "history": [5, 10],
            "look": {"a": {"pooling": "max"}, "b": {"pooling": "avg"}},
        }
        files = {name: str(folder / f"{name}.png") for name in NAMES[:2]}
        raw = {"contents": files, "styles": files, "sweep": {"axes": axes, **sweep}}
        with pytest.raises(ConfigError) as caught:
            Plan(parse_config(raw))
        assert len(caught.value.problems) == 1, caught.value.problems
        assert caught.value.problems[0].startswith(f"sweep.{line}")


class TestOwnSettings:
    def plan(self, folder: Path, **changes: Any) -> Plan:
        file = str(folder / "picture0.png")
        raw = {
            "contents": {"a": file, "b": {"path": file, "settings": {"size": 96}}},
            "styles": {
                "s": file,
                "t": {"path": file, "settings": {"size": 96, "style_scale": 2, "preset": "fast"}},
            },
            "settings": {"history": 7},
            "sweep": {"axes": {"style_weight": [1, 2]}},
        }
        return Plan(parse_config({**raw, **changes}))

    def test_they_stand_above_the_others_and_in_no_name(self, folder: Path) -> None:
        plan = self.plan(folder)
        found = {
            (c.style, c.content): (c.settings.size, c.settings.style_scale, c.settings.statistic)
            for c in plan.cells()
        }
        assert found == {
            ("s", "a"): (512, 1, "gram"),
            ("s", "b"): (96, 1, "gram"),
            ("t", "a"): (96, 2, "w2"),
            ("t", "b"): (96, 2, "w2"),
        }
        assert {c.settings.history for c in plan.cells()} == {7}
        assert {Path(c.image).name for c in plan.cells()} == {
            "style_weight=1.png",
            "style_weight=2.png",
        }
        assert list(plan.sizes) == ["96", "256", "512"]

    def test_an_own_setting_changes_its_batches_only(self, folder: Path) -> None:
        file = str(folder / "picture0.png")
        other = {"a": file, "b": {"path": file, "settings": {"size": 64}}}
        one, two = (
            self.plan(folder, styles={"s": file}),
            self.plan(folder, styles={"s": file}, contents=other),
        )
        for content, same in (("a", True), ("b", False)):
            before, after = (
                p.digest_of(cell for cell in p.cells() if cell.content == content)
                for p in (one, two)
            )
            assert (before == after) is same

    def test_a_swept_setting_cannot_be_ones_own(self, folder: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            self.plan(folder, sweep={"axes": {"size": [64, 128]}})
        assert [line.split(":")[0] for line in caught.value.problems] == [
            "contents.b.settings.size",
            "styles.t.settings.size",
        ]
        with pytest.raises(ConfigError, match=r"styles\.t\.settings\.style_scale: .*axis `look`"):
            self.plan(folder, sweep={"axes": {"look": {"x": {"style_scale": 3}}}})

    def test_two_that_differ_have_to_be_kept_apart(self, folder: Path) -> None:
        file = str(folder / "picture0.png")
        contents = {"a": file, "b": {"path": file, "settings": {"size": 128}}}
        with pytest.raises(
            ConfigError, match=r"styles\.t\.settings\.size: is 96.*contents\.b.*128"
        ):
            self.plan(folder, contents=contents)
        apart = {"axes": {"style_weight": [1]}, "exclude": [{"style": "t", "content": "b"}]}
        assert self.plan(folder, contents=contents, sweep=apart).cell_count == 3

    def test_settings_that_do_not_go_together_are_named_with_their_owner(
        self, folder: Path
    ) -> None:
        file = str(folder / "picture0.png")
        styles = {"s": {"path": file, "settings": {"content_weight": 0}}}
        with pytest.raises(ConfigError) as caught:
            self.plan(folder, styles=styles, sweep={"axes": {"style_weight": [0, 1]}})
        assert len(caught.value.problems) == 2  # one for each content that differs
        assert "style_weight=0, styles.s: content_weight and style_weight" in str(caught.value)
