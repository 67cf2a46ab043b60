"""Limits are parsed, never evaluated, and decide the exit status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from editing import edit, scale
from synthetic import write_run

from nstcore.cli import main
from nstcore.config.expressions import COUNTS, parse_threshold

Runs = tuple[Path, Path]


@pytest.mark.parametrize(
    ("text", "name", "statistic", "sign", "bound", "relative"),
    [
        ("style_loss > +5%", "style_loss", "median", ">", 0.05, True),
        ("style_loss>5%", "style_loss", "median", ">", 0.05, True),
        ("style_loss_relu1_1 any >= 20 %", "style_loss_relu1_1", "any", ">=", 0.2, True),
        (" ssim mean < -0.02 ", "ssim", "mean", "<", -0.02, False),
        ("seconds max <= 1e3", "seconds", "max", "<=", 1000.0, False),
        ("tv min > .5", "tv", "min", ">", 0.5, False),
        ("failed > 0", "failed", "count", ">", 0.0, False),
    ],
)
def test_what_a_limit_says(
    text: str, name: str, statistic: str, sign: str, bound: float, relative: bool
) -> None:
    limit = parse_threshold(text)
    found = (limit.name, limit.statistic, limit.sign, limit.bound, limit.relative)
    assert found == (name, statistic, sign, pytest.approx(bound), relative)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "write for example"),
        ("style_loss", "write for example"),
        ("style_loss > ", "write for example"),
        ("style_loss = 5%", "write for example"),
        ("style_loss > five", "write for example"),
        ("__import__('os').system('true') > 0", "write for example"),
        ("style_loss > 5% or ssim < 0", "write for example"),
        ("style_loss > nan", "write for example"),
        ("style_loss > 1e999", "too large"),
        ("style_loss medain > 5%", "did you mean `median`?"),
        ("style_loss p95 > 5%", "choose from: median"),
        ("failed any > 0", "is a count"),
        ("gone > 5%", "is a count"),
    ],
)
def test_what_is_no_limit(text: str, part: str) -> None:
    with pytest.raises(ValueError, match=re.escape(part)) as caught:
        parse_threshold(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("limit", "status"),
    [
        ("style_loss > +9.9%", 1),
        ("style_loss > +10.1%", 0),
        ("style_loss mean >= 9.9%", 1),
        ("style_loss min > 9.9%", 1),
        ("style_loss max < 10.1%", 1),
        ("style_loss any > 10.1%", 0),
        ("style_loss any > 9.9%", 1),
        ("style_loss any > 0.02", 1),
        ("style_loss any > 1", 0),
        ("style_loss < 0%", 0),
        ("content_loss > 0%", 0),
        ("content_loss >= 0%", 1),
        ("pairs < 12", 0),
        ("pairs < 13", 1),
        ("failed > 0", 0),
        ("gone > 0", 0),
        ("identical < 12", 0),
    ],
)
def test_the_exit_status(
    runs: Runs, capsys: pytest.CaptureFixture[str], limit: str, status: int
) -> None:
    assert main(["compare", *map(str, runs), "--fail-if", limit]) == status
    said = capsys.readouterr()
    assert said.err.count("\n") == status
    assert limit in (said.err if status else said.out)
    assert "exceeded" in said.err or not status


def test_counts_of_what_went_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = write_run(tmp_path, run="before", failed=[5])
    after = write_run(tmp_path, run="after", styles=["wave", "ink"], failed=[0], diverged=[1])
    for path in (after / "cells").glob("ink/cat/*10.json"):
        path.unlink()
    expected = {"broken": 2, "failed": 2, "missing": 1, "gone": 6, "added": 6, "pairs": 6}
    for name, count in expected.items():
        words = ["compare", str(before), str(after), "--fail-if"]
        assert main([*words, f"{name} > {count - 1}"]) == 1, name
        assert f"{count} {COUNTS[name]}" in capsys.readouterr().err
        assert main([*words, f"{name} > {count}"]) == 0, name


def test_every_run_is_held_against_the_limits(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    third = edit(write_run(tmp_path, run="third"), scale("style_loss", 0.9))
    words = ["compare", *map(str, runs), str(third)]
    assert main([*words, "--fail-if", "style_loss < -5%"]) == 1
    assert capsys.readouterr().err.startswith("nst: third: ")
    assert main([*words, "--fail-if", "style_loss > 5%", "--fail-if", "style_loss < -5%"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_limit_that_cannot_be_told_is_no_success(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = runs
    edit(after, lambda record: record["evaluation"].update(size=512))
    words = ["compare", str(before), str(after), "--fail-if"]
    assert main([*words, "style_loss > 50%"]) == 2
    assert "measured in different ways" in capsys.readouterr().err
    assert main([*words, "seconds > 50%"]) == 0
    for path in (after / "cells").rglob("*.json"):
        path.unlink()
    assert main([*words, "seconds > 50%"]) == 2


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--fail-if", "stile_loss > 5%"], ["stile_loss", "did you mean `style_loss`?"]),
        (["--fail-if", "style_loss >> 5%"], ["style_loss >> 5%", "write for example"]),
        (["--ignore", "optimiser"], ["optimiser", "did you mean `optimizer`?"]),
        (["--ignore", "style_weight"], ["several cells", "`style_weight` (1, 10, 100)"]),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    runs: Runs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    parts: list[str],
) -> None:
    out = tmp_path / "out"
    assert main(["compare", *map(str, runs), "-o", str(out), *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("nst: ")
    for part in parts:
        assert part in line
    assert not out.exists()


@pytest.mark.parametrize("folders", [["before"], ["before", "nowhere"], ["nowhere", "before"]])
def test_runs_that_are_not_there(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str], folders: list[str]
) -> None:
    assert main(["compare", *(str(tmp_path / folder) for folder in folders)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nst: ")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([], 0),
        (["--fail-if", "style_loss > 5%"], 1),
        (["--fail-if", "style_loss > 5"], 0),
        (["--fail-if", "nonsense"], 2),
    ],
)
def test_the_exit_status_of_the_program(runs: Runs, words: list[str], status: int) -> None:
    program = [sys.executable, "-c", "import sys; from nstcore.cli import main; sys.exit(main())"]
    command = [*program, "compare", *map(str, runs), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout, "plain lines where nobody watches"


def test_json_for_programs(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *map(str, runs), "--json", "--fail-if", "style_loss > 5%"]) == 1
    told = json.loads(capsys.readouterr().out)
    (run,) = told["runs"]
    assert (told["baseline"]["name"], run["name"]) == ("before", "after")
    assert run["pairs"] == 12
    assert run["changed"] == {"encoder": ["vgg19", "compact"]}
    assert run["metrics"]["style_loss"]["median"] == pytest.approx(0.1)
    (limit,) = told["limits"]
    assert limit["exceeded"]
    assert limit["problem"] is None


def test_torch_is_not_needed(runs: Runs) -> None:
    code = (
        "import sys; from nstcore.cli import main; "
        f"main(['compare', {str(runs[0])!r}, {str(runs[1])!r}]); "
        "print(*[n for n in ('torch', 'snakemake', 'reportlab') if n in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
