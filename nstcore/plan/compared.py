"""Where the runs stand that a run is compared with."""

from __future__ import annotations

from pathlib import Path

from nstcore.config.run import Config

FOLDER = "compare"
"""Where a run keeps the comparison, below its own folder."""

PAGE, TABLE, SUMMARY = "index.html", "comparison.csv", "summary.json"
"""What stands in it: the page, one row a pair of cells, and the summary with the limits."""


def compared_runs(config: Config) -> list[str]:
    """The folders of the runs that a run is compared with, the baseline first."""
    given = config.compare.runs if config.compare is not None else []
    return [name if "/" in name else f"{config.results}/{name}" for name in given]


def missing_runs(config: Config) -> list[str]:
    """A line for each of these runs that is not there."""
    problems: list[str] = []
    for index, folder in enumerate(compared_runs(config)):
        where = f"compare.runs[{index}]"
        if Path(folder).resolve() == Path(config.run_dir).resolve():
            problems.append(f"{where}: is this run itself; name another")
        elif not (Path(folder) / "grid.tsv").is_file():
            problems.append(f"{where}: there is no run in {folder} (it has no grid.tsv)")
    return problems
