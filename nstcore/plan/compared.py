"""The runs that a run is compared with, and the files of the comparison."""

from __future__ import annotations

from pathlib import Path

from nstcore.config.run import Config

FOLDER = "compare"
"""The folder of the comparison, below that of the run."""

PAGE, TABLE, SUMMARY = "index.html", "comparison.csv", "summary.json"
"""Its files: the page, a table with a row for each pair of cells, and the summary with the limits."""


def compared_runs(config: Config) -> list[str]:
    """The folders of the runs that a run is compared with, the baseline first."""
    runs = config.compare.runs if config.compare is not None else []
    return [name if "/" in name else f"{config.results}/{name}" for name in runs]


def missing_runs(config: Config) -> list[str]:
    """One line for each of these runs that does not exist."""
    problems: list[str] = []
    for index, folder in enumerate(compared_runs(config)):
        where = f"compare.runs[{index}]"
        if Path(folder).resolve() == Path(config.run_dir).resolve():
            problems.append(f"{where}: is this run itself; name another")
        elif not (Path(folder) / "grid.tsv").is_file():
            problems.append(f"{where}: there is no run in {folder} (it has no grid.tsv)")
    return problems
