"""The frozen configuration, from which all jobs of a run make the same plan.

It is in the run's folder and names all inputs, so that neither an edited configuration nor an image
added to a folder can change the plan of a run that has started.

Beside it the plan itself is written down: a line of JSON with what all jobs need, then a line with the
cells of each batch.  So a job reads its own batch, and finds it by its place in the file, however many
cells the run has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any

from nstcore.config.loader import parse_config
from nstcore.config.run import Config
from nstcore.config.yaml_files import dump_yaml, read_yaml, with_lines
from nstcore.core.settings import Settings
from nstcore.errors import ConfigError, raise_problems
from nstcore.plan.axes import Axes
from nstcore.plan.inputs import expand_contents, expand_styles
from nstcore.plan.paths import missing_runs
from nstcore.plan.plan import Cell, Plan
from nstcore.store.files import file_sha256, retry_io, write_bytes

SNAPSHOT = "config.yaml"
"""Name of the frozen configuration in a run's folder."""

PLAN_FILE = "plan.jsonl"
"""Name of the plan beside it."""

PLAN_FORMAT = 1
"""Raised whenever plans are written down in another way."""

_HEADER = """\
# The configuration of this run as it was when it last started. Made by the workflow and read by its
# jobs: change your own configuration instead.
"""


def snapshot_of(raw: Mapping[str, Any]) -> Path:
    """The frozen configuration of a run, from its configuration as it was read, unchecked."""
    return Path(str(raw.get("results", "results")), str(raw.get("run", "run")), SNAPSHOT)


def write_snapshot(plan: Plan) -> Path:
    """Write the configuration that a plan was made from, with every input file by name."""
    values = _frozen_values(plan)
    path, text = Path(plan.config.run_dir) / SNAPSHOT, (_HEADER + dump_yaml(values)).encode()
    _write_plan(path.with_name(PLAN_FILE), plan, values, text)
    write_bytes(path, text)
    return path


def former_workers(plan: Plan) -> int:
    """The ``workers`` of a run when it last started; 0 if anything else of it was not the same."""
    try:
        with open(Path(plan.config.run_dir) / PLAN_FILE, "rb") as file:
            former = json.loads(file.readline())["config"]
        workers = former.pop("workers", 0)
    except (OSError, ValueError, KeyError):
        return 0
    values = json.loads(_line(_frozen_values(plan)))
    values.pop("workers", None)
    return int(workers) if former == values else 0


def _frozen_values(plan: Plan) -> dict[str, Any]:
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
    return values


# --- The plan, written down. ---

_SHARED = ("sizes", "encoders", "targets", "refined_sizes", "refined_encoders", "refined_targets")
"""Attributes of a plan that follow from all of its cells, and that jobs of some of them need."""


def _write_plan(path: Path, plan: Plan, config: Mapping[str, Any], snapshot: bytes) -> None:
    """Write down a plan with its configuration, and the digest of its snapshot."""
    batches = {
        name: _line([[c.style, c.content, c.point.values, c.point.seed] for c in cells])
        for name, cells in plan.batches.items()
    }
    shared = {
        "format": PLAN_FORMAT,
        "snapshot": sha256(snapshot).hexdigest(),
        "config": config,
        "axis_values": plan.axis_values,
        **{name: getattr(plan, name) for name in _SHARED},
        "lengths": {name: len(line) for name, line in batches.items()},
    }
    write_bytes(path, b"".join([_line(shared), *batches.values()]))


def _line(value: Any) -> bytes:
    text = json.dumps(value, default=Settings.model_dump, ensure_ascii=False, separators=(",", ":"))
    return text.encode() + b"\n"


def plan_of_batch(snapshot: Path, batch: str) -> bytes:
    """The plan of a run that has started, written down with the cells of one batch alone."""
    with open(snapshot.with_name(PLAN_FILE), "rb") as file:
        shared = json.loads(file.readline())
        lengths = shared["lengths"]
        file.seek(sum(lengths[name] for name in takewhile(lambda name: name != batch, lengths)), 1)
        line = file.read(lengths[batch])
    return _line({**shared, "lengths": {batch: len(line)}}) + line


class FrozenPlan(Plan):
    """The plan of a run that has started.

    What a job does not ask for is neither read nor made, and nothing is checked again.

    Args:
        path: of the plan that was written down.
        shared: its first line.
        start: where the lines of the batches begin.
    """

    def __init__(self, path: Path, shared: Mapping[str, Any], start: int) -> None:
        self.config = Config.model_validate(shared["config"])
        self.contents = expand_contents(self.config.contents, check=False)
        self.styles = expand_styles(self.config.styles, check=False)
        self._axis_values = shared["axis_values"]
        known: dict[str, Any] = {
            name: {label: tuple(value) for label, value in shared[name].items()} for name in _SHARED
        }
        for name in ("targets", "refined_targets"):
            known[name] = {
                target: (Settings.model_validate(settings), tuple(layers), size)
                for target, (settings, layers, size) in known[name].items()
            }
        vars(self).update(known, batches=_WrittenBatches(self, path, shared["lengths"], start))

    @cached_property
    def axes(self) -> Axes:
        """The axes of the sweep."""
        return Axes(self.config)

    @cached_property
    def axis_values(self) -> dict[str, list[Any]]:
        """See :class:`Plan`."""
        axes = self.axes.by_name
        return {
            name: list(map(axes[name].parse, values)) if name in axes else values
            for name, values in self._axis_values.items()
        }


class _WrittenBatches(Mapping[str, Sequence[Cell]]):
    """Batch -> its cells, read when they are asked for."""

    def __init__(
        self, plan: FrozenPlan, path: Path, lengths: Mapping[str, int], start: int
    ) -> None:
        self._plan, self._path, self._lengths = plan, path, lengths
        self._starts = dict(zip(lengths, accumulate(lengths.values(), initial=start), strict=False))

        self._read: dict[str, list[Cell]] = {}

    def __getitem__(self, name: str) -> list[Cell]:
        if name not in self._read:
            with open(self._path, "rb") as file:
                file.seek(self._starts[name])
                line = json.loads(file.read(self._lengths[name]))
            self._read[name] = [self._cell(name, *values) for values in line]
        return self._read[name]

    def _cell(
        self, batch: str, style: str, content: str, values: Mapping[str, Any], seed: int
    ) -> Cell:
        axes = self._plan.axes
        parsed = {name: axes.by_name[name].parse(value) for name, value in values.items()}
        return self._plan.cell(style, content, axes.point(parsed, seed), batch)

    def __iter__(self) -> Iterator[str]:
        return iter(self._lengths)

    def __len__(self) -> int:
        return len(self._lengths)


def _read_shared(snapshot: Path) -> FrozenPlan | None:
    """The plan beside a snapshot; None if it belongs to another one, or an older version wrote it."""
    path = snapshot.with_name(PLAN_FILE)
    try:
        with open(path, "rb") as file:
            line = file.readline()
    except FileNotFoundError:
        return None
    shared = json.loads(line)
    same = shared["format"] == PLAN_FORMAT and shared["snapshot"] == file_sha256(snapshot)
    return FrozenPlan(path, shared, len(line)) if same else None


# --- Reading plans. ---


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
    return _plan(raw, starting) if starting else read_frozen_plan(snapshot_of(raw))


def read_frozen_plan(snapshot: Path) -> Plan:
    """The plan of a run that has started, for one of its jobs, which reads no more of it than it needs.

    Raises:
        ConfigError: if there is none.
    """
    try:
        # Another machine may have written it a moment ago.
        retry_io(snapshot.stat, expected=True)
    except FileNotFoundError:
        raise ConfigError([f"{snapshot}: is missing; start the run again"]) from None
    return _read_shared(snapshot) or read_plan(snapshot)


def _plan(raw: Mapping[str, Any], starting: bool) -> Plan:
    plan = Plan(parse_config(raw))
    problems = missing_runs(plan.config) if starting else []
    raise_problems(problems)
    return plan
