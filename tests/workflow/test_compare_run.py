"""A run that ends in a comparison with another, through Snakemake."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from synthetic import write_run
from workbench import Bench

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """A configuration that is compared with a run made elsewhere, which has 12 iterations."""
    compare = {"runs": ["old"], "fail_if": ["pairs > 5", "missing > 0"]}
    bench = make_bench(1, 1, sweep={"axes": {"style_weight": [10, 100]}}, compare=compare)
    axes = {"style_weight": [1.0, 10.0]}
    results = bench.folder / "results"
    write_run(results, run="old", styles=["painting1"], contents=["photo1"], axes=axes)
    return bench


def test_the_run_is_put_beside_the_other(bench: Bench) -> None:
    bench.run()
    folder = bench.run_dir / "compare"
    assert {path.name for path in folder.iterdir()} == {
        "comparison.csv",
        "index.html",
        "summary.json",
        "thumbs",
    }
    told = json.loads((folder / "summary.json").read_text())
    (run,) = told["runs"]
    assert (told["baseline"]["name"], run["name"]) == ("old", "small")
    assert (run["pairs"], run["gone"], run["added"]) == (1, 1, 1)
    assert run["changed"] == {"size": ["512", "64"], "encoder": ["vgg19", "compact"]}
    assert run["made_with"]["iterations"] == ["–", "3"]
    assert run["metrics"]["style_loss"]["n"] == 1
    assert [limit["exceeded"] for limit in told["limits"]] == [False, False]
    assert "../compare/index.html" in (bench.run_dir / "report" / "index.html").read_text()
    assert "Nothing to be done" in bench.run()


def test_beyond_a_limit_it_ends_with_an_error_after_everything_is_shown(bench: Bench) -> None:
    stored = bench.stored()
    bench.write(compare={"runs": ["old"], "fail_if": ["iterations_done < -50%", "gone > 5"]})
    status, said = bench.try_run()
    assert status != 0
    assert "compare.fail_if: iterations_done < -50%: -75.0 % (median of 1 cell)" in said
    assert "compare.fail_if: gone" not in said
    assert (bench.run_dir / "compare" / "index.html").is_file()
    assert not (bench.run_dir / "summary.json").exists()
    assert bench.stored() == stored, "no cell was made again"


def test_a_run_that_is_not_there_stops_before_anything_is_done(bench: Bench) -> None:
    bench.write(run="third", compare={"runs": ["nowhere"]})
    status, said = bench.try_run()
    assert status != 0
    assert "compare.runs[0]: there is no run in results/nowhere" in said
    assert "Traceback" not in said
    assert not bench.run_dir.exists()
