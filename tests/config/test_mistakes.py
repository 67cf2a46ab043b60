"""Every mistake in a configuration gives one clear line, and all of them are given at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nstcore.config.loader import parse_config, resolve_settings
from nstcore.config.yaml_files import dump_yaml, read_yaml, with_lines
from nstcore.errors import ConfigError
from nstcore.plan.plan import Plan
from nstcore.plan.snapshot import read_plan

PICTURES: dict[str, Any] = {"contents": "photos", "styles": "paintings"}


def problems(raw: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(raw)
    for line in caught.value.problems:
        assert "\n" not in line
        assert len(line) < 400
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def only_problem(raw: dict[str, Any]) -> str:
    found = problems(raw)
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(
    ("raw", "path", "suggestion"),
    [
        ({"contnets": "x"}, "contnets", "contents"),
        ({"settings": {"stile_weight": 1}}, "settings.stile_weight", "style_weight"),
        ({"settings": {"iteration": 1}}, "settings.iteration", "iterations"),
        ({"sweep": {"axis": {}}}, "sweep.axis", "axes"),
        ({"sweep": {"axes": {"styl_weight": [1]}}}, "sweep.axes.styl_weight", "style_weight"),
        ({"report": {"columns": []}}, "report.columns", "cols"),
        ({"report": {"row": []}}, "report.row", "rows"),
        ({"output": {"formats": "png"}}, "output.formats", "format"),
        ({"evaluation": {"sizes": 64}}, "evaluation.sizes", "size"),
        ({"contents": {"a": {"path": "x", "setings": {}}}}, "contents.a.setings", "settings"),
        ({"styles": {"a": {"paths": ["x"], "setings": {}}}}, "styles.a.setings", "settings"),
        (
            {"styles": {"a": {"path": "x", "settings": {"siz": 64}}}},
            "styles.a.settings.siz",
            "size",
        ),
    ],
)
def test_an_unknown_key_is_named_with_its_path(
    raw: dict[str, Any], path: str, suggestion: str | None
) -> None:
    line = only_problem({**PICTURES, **raw})
    assert line.startswith(f"{path}: unknown")
    if suggestion is None:
        assert "choose from: " in line
    else:
        assert f"did you mean `{suggestion}`?" in line


@pytest.mark.parametrize(
    ("raw", "path", "words"),
    [
        ({"settings": {"size": "big"}}, "settings.size", ["integer", "'big'"]),
        ({"settings": {"size": 3}}, "settings.size", ["32", "3"]),
        ({"settings": {"style_weight": -1}}, "settings.style_weight", ["0", "-1"]),
        ({"settings": {"style_weight": float("nan")}}, "settings.style_weight", ["nan"]),
        ({"settings": {"style_weight": float("inf")}}, "settings.style_weight", ["inf"]),
        ({"settings": {"style_weight": [1]}}, "settings.style_weight", ["number", "[1]"]),
        ({"settings": {"optimizer": "sgd"}}, "settings.optimizer", ["lbfgs", "adam", "sgd"]),
        ({"settings": {"style_layers": ["relu9_1"]}}, "settings.style_layers", ["relu9_1"]),
        ({"settings": {"style_layers": {}}}, "settings.style_layers", ["at least one"]),
        ({"settings": {"iterations": []}}, "settings.iterations", ["at least 1"]),
        ({"settings": {"iterations": 0}}, "settings.iterations", ["at least 1"]),
        ({"settings": {"iterations": "many"}}, "settings.iterations", ["integer", "list", "many"]),
        ({"settings": {"preset": "gaty"}}, "settings.preset", ["gaty", "gatys"]),
        ({"settings": {"init": "file"}}, "settings", ["init_file"]),
        ({"settings": {"statistic": "mean"}}, "settings.statistic", ["gram", "w2", "mean"]),
        (
            {"settings": {"statistic": "w2", "normalization": "gatys"}},
            "settings",
            ["normalization: gatys", "statistic: gram"],
        ),
        (
            {"settings": {"preset": "gatys", "statistic": "w2"}},
            "settings",
            ["normalization: gatys", "statistic: gram"],
        ),
        ({"settings": [1]}, "settings", ["[1]"]),
        ({"sweep": {"axes": {"size": 64}}}, "sweep.axes.size", ["list", "64"]),
        ({"sweep": {"axes": {"size": []}}}, "sweep.axes.size", ["at least 1"]),
        ({"sweep": {"axes": {"size": [64, 3]}}}, "sweep.axes.size[1]", ["32", "3"]),
        ({"sweep": {"axes": {"init": ["contents"]}}}, "sweep.axes.init[0]", ["contents"]),
        ({"sweep": {"axes": {"preset": ["x"]}}}, "sweep.axes.preset[0]", ["gatys"]),
        ({"sweep": {"seeds": 0}}, "sweep.seeds", ["1", "0"]),
        ({"sweep": {"seeds": [1, 1]}}, "sweep.seeds", ["twice"]),
        ({"sweep": {"seeds": [-1]}}, "sweep.seeds[0]", ["-1"]),
        ({"sweep": {"seeds": [2**64]}}, "sweep.seeds[0]", [str(2**64)]),
        ({"batch_by": ["stile"]}, "batch_by", ["stile", "style"]),
        ({"batch_by": ["style", "style"]}, "batch_by", ["twice"]),
        ({"report": {"rows": ["size"]}}, "report.rows", ["size", "content"]),
        ({"report": {"rows": ["style"], "cols": ["style"]}}, "report", ["style", "two"]),
        ({"output": {"format": "jpg", "bits": 16}}, "output.bits", ["JPEG", "png", "tiff"]),
        ({"output": {"format": "webp", "bits": 16}}, "output.bits", ["WebP", "png", "tiff"]),
        (
            {"output": {"format": "jpg", "preserve_alpha": True}},
            "output.preserve_alpha",
            ["JPEG", "png", "webp"],
        ),
        ({"run": "a/b"}, "run", ["a/b"]),
        ({"run": ""}, "run", ["''"]),
        ({"run": "../up"}, "run", ["../up"]),
        ({"background": "white"}, "background", ["white"]),
        ({"contents": 5}, "contents", ["string", "list", "dictionary", "5"]),
        ({"contents": {"my cat": "a.png"}}, "contents.my cat", ["my cat"]),
        ({"contents": {1: "a.png"}}, "contents.1", ["quotes"]),
        ({"styles": {"a": {"x.png": -1}}}, "styles.a.x.png", ["0", "-1"]),
        ({"styles": {"a": 3}}, "styles.a", ["string", "list", "3"]),
        ({"styles": [3]}, "styles[0]", ["string", "3"]),
        ({"contents": {"a": {"settings": {}}}}, "contents.a.path", ["missing"]),
        ({"contents": {"a": ["x.png"]}}, "contents.a", ["string", "x.png"]),
        (
            {"contents": {"a": {"path": "x", "settings": {"size": 3}}}},
            "contents.a.settings.size",
            ["32", "3"],
        ),
        ({"styles": {"a": {"settings": {}}}}, "styles.a", ["either `path`", "or `paths`"]),
        ({"styles": {"a": {"path": "x", "paths": ["y"]}}}, "styles.a", ["either `path`"]),
        ({"styles": {"a": {"paths": {"x": 0}}}}, "styles.a.paths.x", ["greater than 0", "0"]),
        ({"allow_failures": "perhaps"}, "allow_failures", ["perhaps"]),
    ],
)
def test_a_wrong_value_is_named_with_its_path(
    raw: dict[str, Any], path: str, words: list[str]
) -> None:
    line = only_problem({**PICTURES, **raw})
    where, _, what = line.partition(": ")
    assert where == path
    for word in words:
        assert word in what


def test_required_keys() -> None:
    assert problems({}) == ["contents: is missing", "styles: is missing"]


def test_all_mistakes_are_given_at_once() -> None:
    found = problems(
        {
            "contents": 5,
            "sytles": "x",
            "settings": {"size": "big", "pooling": "median", "stile_weight": 2},
            "sweep": {"axes": {"style_weight": [1, -2, "x"], "sise": [64]}, "seeds": 0},
            "report": {"thumbnail": "large", "roes": 1},
        }
    )
    places = {line.partition(": ")[0] for line in found}
    assert places == {
        "contents",
        "styles",
        "sytles",
        "settings.size",
        "settings.pooling",
        "settings.stile_weight",
        "sweep.axes.style_weight[1]",
        "sweep.axes.style_weight[2]",
        "sweep.axes.sise",
        "sweep.seeds",
        "report.thumbnail",
        "report.roes",
    }
    assert len(found) == len(places)


def test_a_setting_is_either_fixed_or_swept() -> None:
    line = only_problem(
        {**PICTURES, "settings": {"size": 64}, "sweep": {"axes": {"size": [64, 128]}}}
    )
    assert line.startswith("sweep.axes.size: ")


@pytest.mark.parametrize("section", ["settings", "sweep", "report", "output", "evaluation"])
def test_a_section_whose_keys_are_all_commented_out_is_as_if_absent(section: str) -> None:
    assert parse_config({**PICTURES, section: None}) == parse_config(PICTURES)
    for key in ("axes", "zip", "exclude", "include", "where", "sample"):
        assert (
            parse_config({**PICTURES, "sweep": {key: None}}).sweep == parse_config(PICTURES).sweep
        )


def test_an_axis_may_complete_the_settings(tmp_path: Path) -> None:
    picture, other = str(tmp_path / "a.png"), str(tmp_path / "b.png")
    Path(picture).touch()
    Path(other).touch()
    config = parse_config(
        {
            "contents": picture,
            "styles": picture,
            "settings": {"init": "file"},
            "sweep": {"axes": {"init_file": [picture, other]}},
        }
    )
    found = [(s.init, s.init_file) for s in Plan(config).settings]
    assert found == [("file", picture), ("file", other)]


def test_points_of_the_sweep_that_cannot_be_are_named(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.touch()
    config = parse_config(
        {
            "contents": str(picture),
            "styles": str(picture),
            "sweep": {"axes": {"content_weight": [0, 1], "style_weight": [0, 1]}},
        }
    )
    with pytest.raises(ConfigError, match=r"content_weight=0, style_weight=0: .*both") as caught:
        Plan(config)
    assert len(caught.value.problems) == 1


class TestYaml:
    def read(self, folder: Path, text: str) -> dict[str, Any]:
        file = folder / "config.yaml"
        file.write_text(text)
        return read_yaml(file)

    @pytest.mark.parametrize(
        ("text", "number"),
        [("1e3", 1000), ("1E-2", 0.01), ("1.5e2", 150), ("-2e+1", -20), ("1.e2", 100), (".5e1", 5)],
    )
    def test_exponents_are_numbers(self, tmp_path: Path, text: str, number: float) -> None:
        value = self.read(tmp_path, f"style_weight: {text}\n")["style_weight"]
        assert isinstance(value, float)
        assert value == number

    @pytest.mark.parametrize("text", ["e3", "1e", "1e3x", "relu1_1", "1_e3", "0x1e3g"])
    def test_what_only_looks_like_one_stays_text(self, tmp_path: Path, text: str) -> None:
        assert self.read(tmp_path, f"a: {text}\n")["a"] == text

    @pytest.mark.parametrize(
        "text", ["1e3", "12e45", "on", "1", "0.5", "null", "", "~", "é", "a: b"]
    )
    def test_text_comes_back_as_text(self, tmp_path: Path, text: str) -> None:
        values = {"contents": {text: text}}
        assert self.read(tmp_path, dump_yaml(values)) == values

    @pytest.mark.parametrize(
        "text",
        ["run: a\nrun: b\n", "settings:\n  size: 64\n  size: 64\n", "a: {b: 1, c: 2, b: 3}\n"],
    )
    def test_a_repeated_key_is_an_error(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(
            ConfigError, match=r"config\.yaml, line \d+: the key `\w+` appears twice"
        ):
            self.read(tmp_path, text)

    @pytest.mark.parametrize(
        ("text", "values"),
        [
            ("{<<: *x}", {"size": 1}),
            ("{<<: *x, size: 3}", {"size": 3}),
            ("{size: 3, <<: *x}", {"size": 3}),
            ("{<<: [*y, *x]}", {"size": 2, "k": 1}),
            ("{<<: {<<: *y, k: 5}}", {"size": 2, "k": 5}),
        ],
    )
    def test_merge_keys(self, tmp_path: Path, text: str, values: dict[str, int]) -> None:
        read = self.read(tmp_path, f"a: &x {{size: 1}}\nb: &y {{size: 2, k: 1}}\nc: {text}\n")
        assert read == {"a": {"size": 1}, "b": {"size": 2, "k": 1}, "c": values}

    def test_a_merge_key_needs_maps(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="line 2: the key `<<` needs a map"):
            self.read(tmp_path, "a: 1\nb: {<<: 5}\n")

    @pytest.mark.parametrize(
        "text", ["a: [1\n", "a: b: c\n", "\ta: 1\n", "{[1]: 2}", "a: !!python/x y"]
    )
    def test_broken_yaml_gives_one_line_with_its_place(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(ConfigError, match=r"config\.yaml, line \d+, column \d+: ") as caught:
            self.read(tmp_path, text)
        assert len(str(caught.value).splitlines()) == 1

    @pytest.mark.parametrize("text", ["", "# only a comment\n", "- a\n- b\n", "word\n"])
    def test_anything_but_a_mapping_is_an_error(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(ConfigError, match="keys and values"):
            self.read(tmp_path, text)

    def test_files_that_are_not_there_or_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "picture.yaml").write_bytes(b"\xff\xd8\xff")
        for name, reason in [("no.yaml", "no such"), (".", "folder"), ("picture.yaml", "UTF-8")]:
            with pytest.raises(ConfigError, match=reason):
                read_yaml(tmp_path / name)


class TestLines:
    """A mistake in a file is told with its line."""

    TEXT = """\
contents: [a.png, b.png]
styles:
  night: night.png
  wave: {path: wave.png, settings: {size: 3}}
sweep:
  axes:
    style_weight:
      - 1
      - -2
    tv_weight: [0,
      x]
  exclude:
    - {style: night}
    - {stile: night}
stile: 1
"""

    def test_each_problem_has_the_line_of_its_key(self, tmp_path: Path) -> None:
        file = tmp_path / "c.yaml"
        file.write_text(self.TEXT)
        raw = read_yaml(file)
        with pytest.raises(ConfigError) as caught:
            parse_config(raw)
        told = with_lines(caught.value, raw).problems
        lines = {line.split(": ")[1]: line.split(": ")[0] for line in told}
        assert lines == {
            "styles.wave.settings.size": f"{file}, line 4",
            "sweep.axes.style_weight[1]": f"{file}, line 9",
            "sweep.axes.tv_weight[1]": f"{file}, line 11",
            "stile": f"{file}, line 15",
        }
        file.write_text(self.TEXT.replace("size: 3", "size: 64").replace("-2", "2"))
        file.write_text(file.read_text().replace("x]", "1]").replace("stile: 1\n", ""))
        with pytest.raises(ConfigError) as caught:
            read_plan(file)
        assert caught.value.problems[0].startswith(
            f"{file}, line 14: sweep.exclude[1].stile: unknown axis `stile`; did you mean"
        )

    def test_a_key_that_is_missing_has_that_of_its_owner(self, tmp_path: Path) -> None:
        file = tmp_path / "c.yaml"
        file.write_text("styles: a.png\nsweep:\n  sample:\n    method: lhs\n")
        raw = read_yaml(file)
        with pytest.raises(ConfigError) as caught:
            parse_config(raw)
        assert with_lines(caught.value, raw).problems == [
            f"{file}: contents: is missing",
            f"{file}, line 3: sweep.sample.n: is missing",
        ]

    def test_without_a_file_nothing_is_added(self) -> None:
        error = ConfigError(["contents: is missing"])
        assert with_lines(error, {}) is error

    @pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]"])
    def test_aliases_are_followed_once(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "c.yaml"
        file.write_text(text)
        assert read_yaml(file).lines["a"] == 1


def test_resolving_names_the_place() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_settings({"sise": 1, "size": 3}, where="--set")
    assert {line.partition(": ")[0] for line in caught.value.problems} == {
        "--set.sise",
        "--set.size",
    }
