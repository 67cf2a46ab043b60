"""``nst plan``: what a run would be, before it is one."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nstcore.cli.jobs import job_line, job_values, jobs_of
from nstcore.core.encoders.weights import locate
from nstcore.errors import ImageError, UserError
from nstcore.jobs import prepare
from nstcore.jobs.cell_inputs import RunInputs
from nstcore.plan import paths, preparation
from nstcore.plan.plan import Cell, Plan
from nstcore.plan.snapshot import read_plan
from nstcore.plan.values import format_duration, format_size, format_value
from nstcore.store.cells import Store
from nstcore.store.files import file_sha256, write_json

if TYPE_CHECKING:
    from nstcore.report.outputs import SheetForecast
    from nstcore.resources.estimate import BatchCost, InputSizes, Machine
    from nstcore.resources.preflight import Disk
    from nstcore.resources.throughput import Throughput


@dataclass
class Outlook:
    """Everything that is said about a run before it starts.

    Attributes:
        plan: the run.
        keys: of all cells in their order; None while a picture or an encoder's weights lack.
        new: the cells that have to be made, one for each key; all where keys are not known.
        device: what cells are made on; None if it is not there.
        batches: batch -> what its missing cells take.
        refined: the same for cells that are made again, as many as there can be.
        seconds: of what is missing, with everything around; None without a probe.
        seconds_all: of the whole run, as if nothing were there.
        disk: of what is missing.
        disk_free: bytes that are free where the results will stand.
        sheets: the contact sheets.
        warnings: what would go wrong late.
        problems: what keeps cells from being made at all.
    """

    plan: Plan
    keys: list[str] | None = None
    new: list[Cell] = field(default_factory=list)
    device: str | None = None
    batches: dict[str, BatchCost] = field(default_factory=dict)
    refined: dict[str, BatchCost] = field(default_factory=dict)
    seconds: float | None = None
    seconds_all: float | None = None
    disk: Disk | None = None
    disk_free: float = 0.0
    sheets: list[SheetForecast] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def present(self) -> int | None:
        """Cells that the store has; None where that cannot be told."""
        if self.keys is None:
            return None
        store = Store(self.plan.config.store_dir)
        return sum(store.has(key) for key in self.keys)


def show_plan(config: Path, *, probe: bool = True, as_json: bool = False) -> int:
    """Print what a run would be, and what the store has of it.

    Args:
        config: the configuration.
        probe: whether to measure how fast this machine is; without it no times are told.
        as_json: one JSON object in place of text.

    Raises:
        ImageError: after everything else has been told, if pictures cannot be read.
    """
    plan = read_plan(config, starting=True)
    console = Console(soft_wrap=True, highlight=False)
    if not as_json:
        show_axes(console, plan)
    outlook = look_ahead(plan, probe=probe)
    if as_json:
        json.dump({**as_values(outlook), "jobs": job_values(plan)}, sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        show_outlook(console, outlook)
        if "cluster" in plan.config.model_fields_set:
            console.print(job_line(jobs_of(plan)))
    if outlook.problems:
        raise ImageError("\n".join(outlook.problems))
    return 0


def look_ahead(plan: Plan, *, probe: bool) -> Outlook:
    """Find out what a run would take."""
    from nstcore.report.outputs import forecast_sheets, sheet_warnings
    from nstcore.resources.estimate import InputSizes, Machine, missing_weights
    from nstcore.resources.preflight import (
        estimate_disk,
        existing,
        long_names,
        preflight_warnings,
        too_many_pixels,
    )

    outlook = Outlook(plan, new=list(plan.cells()))
    sizes = InputSizes.of(plan)
    outlook.problems += sizes.problems
    outlook.warnings += missing_weights(plan)
    # Keys come from prepared pictures, which have to be made for that: not where that must fail.
    if not [*sizes.problems, *outlook.warnings, *long_names(plan), *too_many_pixels(plan, sizes)]:
        try:
            outlook.keys = cell_keys(plan)
            outlook.new = _new(plan, outlook.keys)
        except ImageError as error:
            outlook.problems += str(error).splitlines()
    machine: Machine | None = None
    try:
        machine = Machine.here(plan.config)
        outlook.device = machine.kind
    except UserError as error:
        outlook.warnings.append(str(error))
    if machine is not None:
        add_costs(outlook, sizes, machine, measure_machine(plan, machine) if probe else None)
    outlook.sheets = forecast_sheets(plan, sizes)
    costs = [*outlook.batches.values(), *outlook.refined.values()]
    micro_batches = [batch for cost in costs for batch in cost.micro_batches]
    cells = [*outlook.new, *plan.most_refined]
    paper = sum(sheet.bytes for sheet in outlook.sheets)
    outlook.disk = estimate_disk(plan, cells, sizes, micro_batches, paper)
    outlook.disk_free = shutil.disk_usage(existing(plan.config.run_dir)).free
    outlook.warnings += preflight_warnings(plan, sizes, micro_batches, machine, outlook.disk)
    outlook.warnings += sheet_warnings(outlook.sheets, plan.config.report.thumbnail)
    return outlook


def add_costs(
    outlook: Outlook, sizes: InputSizes, machine: Machine, rates: Throughput | None
) -> None:
    """Find out what the cells of a run take on a machine, in time only where its speed is known."""
    from nstcore.resources.estimate import estimate_batch, estimate_overhead

    plan = outlook.plan
    again = plan.most_refined
    whole: dict[str, BatchCost] = {}
    for batches, cells in (
        (outlook.batches, outlook.new),
        (outlook.refined, again),
        (whole, [*plan.cells(), *again]),
    ):
        for name, members in _by_batch(cells).items():
            batches[name] = estimate_batch(plan, members, sizes, machine, rates)
    if rates is None:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    outlook.seconds_all = estimate_overhead(plan, sizes, rates, cores, from_scratch=True) + _sum(
        whole
    )
    outlook.seconds = 0.0
    if outlook.new or not (Path(plan.config.run_dir) / "summary.json").is_file():
        outlook.seconds = estimate_overhead(plan, sizes, rates, cores)
        outlook.seconds += _sum(outlook.batches) + _sum(outlook.refined)


def measure_machine(plan: Plan, machine: Machine) -> Throughput:
    """How fast this machine is for everything that a run needs."""
    import torch

    from nstcore.resources.microbenchmark import measure_throughput

    return measure_throughput(
        [*plan.settings, *plan.refined_settings],
        [preparation.evaluation_settings(plan)],
        torch.device(machine.kind),
        half=machine.half,
        store=Store(plan.config.store_dir),
    )


def _new(plan: Plan, keys: Sequence[str]) -> list[Cell]:
    """Cells that the store lacks: of several that are equal, the first."""
    store = Store(plan.config.store_dir)
    first = dict(zip(reversed(keys), reversed(list(plan.cells())), strict=True))
    return [first[key] for key in dict.fromkeys(keys) if not store.has(key)]


def _by_batch(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.batch, []).append(cell)
    return found


def _sum(batches: dict[str, BatchCost]) -> float:
    return sum(cost.seconds or 0.0 for cost in batches.values())


def show_axes(console: Console, plan: Plan) -> None:
    """Print the axes of a run, its cells and its batches."""
    table = Table("axis", "values", "", title=f"run {plan.config.run}", title_justify="left")
    for axis, values in plan.axis_values.items():
        shown = ", ".join(format_value(value) for value in values)
        table.add_row(axis, str(len(values)), shown)
    console.print(table)
    batches = {cell.batch for cell in plan.cells()}
    console.print(f"{_count(plan.cell_count, 'cell')} in {_count(len(batches), 'batch')}")
    again = len(plan.most_refined)
    if again:
        console.print(f"up to {_count(again, 'cell')} refined when they are finished")


def show_outlook(console: Console, outlook: Outlook) -> None:
    """Print what a run would take."""
    if outlook.keys is None:
        reason = [*outlook.problems, *outlook.warnings][0]
        console.print(f"what is in the store cannot be told yet: {escape(reason)}")
    else:
        present = outlook.present or 0
        twins = len(outlook.keys) - present - len(outlook.new)
        alike = f" ({twins} more are equal to one of them)" if twins else ""
        console.print(f"{present} already in the store, {len(outlook.new)} to compute{alike}")
    if outlook.seconds is not None and outlook.seconds_all is not None:
        show_time(console, outlook)
    costs = {**outlook.batches, **outlook.refined}
    batches = [(name, batch) for name, cost in costs.items() for batch in cost.micro_batches]
    if batches:
        name, batch = max(batches, key=lambda pair: pair[1].bytes)
        most = max(cost.bytes for cost in costs.values())
        together = _count(len(batch.items), "picture")
        how = f"{outlook.device}, {together} at a time"
        how += f" in tiles of {batch.tile} px" if batch.tile else ""
        console.print(f"memory: about {format_size(most)} at most ({how}; {name})")
    if outlook.disk is not None:
        disk = outlook.disk
        console.print(
            f"disk: at most {format_size(disk.total)} (pictures {format_size(disk.pictures)}, inputs "
            f"{format_size(disk.inputs)}, sheets {format_size(disk.sheets)}, states of what is under "
            f"way {format_size(disk.states)}), and {format_size(outlook.disk_free)} are free"
        )
    shown = [
        f"{sheet.name} {width} x {height} px"
        for sheet in outlook.sheets
        for width, height in sheet.parts
    ]
    more = f", and {len(shown) - 6} more" if len(shown) > 6 else ""
    console.print(f"{_count(len(shown), 'contact sheet')}: {', '.join(shown[:6])}{more}")
    for line in outlook.warnings:
        console.print(f"[yellow]warning:[/] {escape(line)}")


def show_time(console: Console, outlook: Outlook) -> None:
    """Print how long it takes."""
    assert outlook.seconds is not None
    assert outlook.seconds_all is not None
    whole = f"{format_duration(outlook.seconds_all)} for the whole grid"
    if outlook.new:
        costs = {**outlook.batches, **outlook.refined}
        name, cost = max(costs.items(), key=lambda pair: pair[1].seconds or 0.0)
        longest = f"; the longest batch, {name}, {format_duration(cost.seconds or 0.0)}"
        console.print(
            f"time: about {format_duration(outlook.seconds)} for what is missing{longest}; about {whole} "
            f"(as fast as this machine is now; pictures that converge early take less)"
        )
    else:
        console.print(
            f"time: about {format_duration(outlook.seconds)} for what is missing; about {whole}"
        )


def as_values(outlook: Outlook) -> dict[str, Any]:
    """Everything, for programs: seconds, bytes and pixels, not rounded."""
    disk = outlook.disk
    return {
        "run": outlook.plan.config.run,
        "axes": outlook.plan.axis_values,
        "cells": outlook.plan.cell_count,
        "present": outlook.present,
        "new": len(outlook.new),
        "device": outlook.device,
        "seconds": outlook.seconds,
        "seconds_all": outlook.seconds_all,
        "batches": {name: _cost_values(cost) for name, cost in outlook.batches.items()},
        "refined_at_most": {name: _cost_values(cost) for name, cost in outlook.refined.items()},
        "disk_free_bytes": outlook.disk_free,
        "disk_bytes": None if disk is None else {**asdict(disk), "total": disk.total},
        "sheets": [asdict(sheet) for sheet in outlook.sheets],
        "warnings": outlook.warnings,
        "problems": outlook.problems,
    }


def _cost_values(cost: BatchCost) -> dict[str, Any]:
    return {
        "new": sum(len(batch.items) for batch in cost.micro_batches),
        "seconds": cost.seconds,
        "memory_bytes": cost.bytes,
        "together": max((len(batch.items) for batch in cost.micro_batches), default=0),
        "tile": next((batch.tile for batch in cost.micro_batches if batch.tile), None),
        "history": min((batch.history for batch in cost.micro_batches), default=None),
    }


def _count(number: int, thing: str) -> str:
    """``1 batch``, ``2 batches``."""
    ending = "" if number == 1 else "es" if thing.endswith("ch") else "s"
    return f"{number} {thing}{ending}"


def cell_keys(plan: Plan) -> list[str]:
    """The keys of all cells, found without a trace in the run's folder.

    Raises:
        WeightsError: if an encoder's weights are not on this machine.
        ImageError: if a picture or a guide cannot be read.
        ConfigError: if contents and styles do not have the same regions.
    """
    with tempfile.TemporaryDirectory(prefix="nst-plan-") as folder:
        # The same plan in another place: its inputs are prepared there, and nothing is computed.
        elsewhere = Plan(plan.config.model_copy(update={"results": folder}))
        root = Path(elsewhere.config.run_dir)
        for name, (encoder, weights) in preparation.encoders(plan).items():
            facts = {
                "name": encoder,
                "source": "",
                "sha256": file_sha256(locate(encoder, weights)),
            }
            write_json(root / paths.ENCODER_FACTS.format(encoder=name), facts)
        problems: list[str] = []
        for content in plan.contents:
            try:
                prepare.prepare_content(elsewhere, content)
                if plan.contents[content].guide is not None:
                    prepare.prepare_content_guide(elsewhere, content)
            except ImageError as error:
                problems.append(f"contents.{content}: {error}")
        for style, source in plan.styles.items():
            for index in range(len(source.paths)):
                try:
                    prepare.prepare_style(elsewhere, style, index)
                    if source.guide(index) is not None:
                        prepare.prepare_style_guide(elsewhere, style, index)
                except ImageError as error:
                    problems.append(f"styles.{style}: {error}")
        if problems:
            raise ImageError("\n".join(problems))
        prepare.check_regions(elsewhere)
        inputs = RunInputs(elsewhere)
        return [inputs.of(cell).key() for cell in elsewhere.cells()]
