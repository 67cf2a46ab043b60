"""The frozen configuration, from which all jobs of a run make the same plan.

It is in the run's folder and names all inputs, so that neither an edited configuration nor an image
added to a folder can change the plan of a run that has started.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nstcore.config.loader import parse_config
from nstcore.config.yaml_files import dump_yaml, read_yaml, with_lines
from nstcore.errors import ConfigError
from nstcore.plan.paths import missing_runs
from nstcore.plan.plan import Plan
from nstcore.store.files import retry_io, write_text

SNAPSHOT = "config.yaml"
"""Name of the frozen configuration in a run's folder."""

_HEADER = """\
# The configuration of this run as it was when it last started. Made by the workflow and read by its
# jobs: change your own configuration instead.
"""


def snapshot_of(raw: Mapping[str, Any]) -> Path:
    """The frozen configuration of a run, from its configuration as it was read, unchecked."""
    return Path(str(raw.get("results", "results")), str(raw.get("run", "run")), SNAPSHOT)


def write_snapshot(plan: Plan) -> Path:
    """Write the configuration that a plan was made from, with every input file by name."""
    config = plan.config
    values: dict[str, Any] = config.model_dump(exclude_unset=True)
    values["run"] = config.run
    values["contents"] = {name: source.entry() for name, source in plan.contents.items()}
    values["styles"] = {name: source.entry() for name, source in plan.styles.items()}
    values["settings"] = config.settings.explicit
    if plan.selection.sample is not None:
        # Drawn once: another version of SciPy might draw other points.
        values["sweep"]["sample"]["points"] = plan.selection.sample
    if plan.refine_rows is not None:
        values["refine"]["choose"] = plan.refine_rows
    path = Path(config.run_dir) / SNAPSHOT
    write_text(path, _HEADER + dump_yaml(values))
    return path


def read_plan(path: Path | str, *, starting: bool = False) -> Plan:
    """The plan of the configuration in a YAML file, perhaps the frozen one of a run.

    Args:
        starting: whether a run starts from it: then the runs that it is compared with must exist.

    Raises:
        ConfigError: one line for every mistake, with the line in the file.
    """
    raw = read_yaml(path)
    try:
        return _plan(raw, starting)
    except ConfigError as error:
        raise with_lines(error, raw) from None


def open_plan(raw: Mapping[str, Any], *, starting: bool) -> Plan:
    """The plan of a configuration as it was read, if this process starts the run; else of the frozen one.

    Raises:
        ConfigError: one line for every mistake.
    """
    if starting:
        return _plan(raw, starting)
    path = snapshot_of(raw)
    try:
        # Another machine may have written it a moment ago.
        retry_io(path.stat, expected=True)
    except FileNotFoundError:
        raise ConfigError([f"{path}: is missing; start the run again"]) from None
    return read_plan(path)


def _plan(raw: Mapping[str, Any], starting: bool) -> Plan:
    plan = Plan(parse_config(raw))
    problems = missing_runs(plan.config) if starting else []
    if problems:
        raise ConfigError(problems)
    return plan
