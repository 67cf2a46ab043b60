"""``nst plan``: what a run will make and take, before it starts."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nstcore.errors import ImageError, UserError
from nstcore.jobs import prepare
from nstcore.plan.plan import Cell, Plan, by_batch
from nstcore.plan.snapshot import read_plan
from nstcore.plan.values import format_count, format_duration, format_size, format_value
from nstcore.resources import requests
from nstcore.store.cells import Store

if TYPE_CHECKING:
    from nstcore.report.outputs import SheetForecast
    from nstcore.resources.estimate import BatchCost, InputSizes, Machine
    from nstcore.resources.preflight import Disk
    from nstcore.resources.throughput import Throughput


def add_parsers(commands: Any) -> None:
    """Add the command to ``nst``."""
    parser = commands.add_parser(
        "plan",
        help="show what a run will make and take, before running it",
        description="Show the cells of a configuration, how many of them the store has, the time, memory "
        "and disk space that the others will take, and what would fail late in the run.",
    )
    parser.add_argument("config", type=Path, help="the configuration, a YAML file")
    parser.add_argument(
        "--no-probe",
        dest="probe",
        action="store_false",
        help="do not measure this machine; no times are shown",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="only measure how fast this machine is, and print it as `cluster.tflops`",
    )
    parser.set_defaults(function=show_plan)


def show_plan(arguments: argparse.Namespace) -> int:
    """Print what a run will make and take, and what the store has of it."""
    if arguments.calibrate:
        return print_calibration(arguments.config)
    plan = read_plan(arguments.config, starting=True)
    console = Console(soft_wrap=True, highlight=False)
    if not arguments.json:
        print_axes(console, plan)
    forecast = forecast_run(plan, probe=arguments.probe)
    if arguments.json:
        json.dump(forecast.to_json() | {"jobs": job_requests(plan)}, sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        print_forecast(console, forecast)
        if "cluster" in plan.config.model_fields_set:
            console.print(job_summary(job_requests(plan)))
    if forecast.problems:
        raise ImageError("\n".join(forecast.problems))
    return 0


def print_calibration(config: Path) -> int:
    """Measure this machine and print its speed as lines for a configuration."""
    from nstcore.resources.estimate import InputSizes, Machine, as_yaml, measured_tflops

    plan = read_plan(config)
    sizes = InputSizes.of(plan)
    if sizes.problems:
        raise ImageError("\n".join(sizes.problems))
    machine = Machine.here(plan.config)
    speed = measure_speed(plan, machine)
    sys.stdout.write(as_yaml(measured_tflops(plan, sizes, machine, speed), speed.device))
    return 0


@dataclass
class RunForecast:
    """What is known about a run before it starts.

    Attributes:
        present: how many cells the store has; None if an image or an encoder's weights are missing.
        new: the cells to compute, of duplicates one; all of them if ``present`` is unknown.
        device: where cells are computed; None if it does not exist here.
        batches: batch -> what its new cells take.
        refined: the same for refined cells, as many as there can be.
        seconds: for everything that is missing; None without a probe.
        seconds_all: for the whole run from scratch.
        disk, disk_free: bytes that the missing part takes, and free ones where the results go.
        warnings: what would fail late.
        problems: what keeps cells from being computed at all.
    """

    plan: Plan
    present: int | None = None
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
    def costs(self) -> dict[str, BatchCost]:
        """All batches, those of refined cells too."""
        return {**self.batches, **self.refined}

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs: seconds, bytes and pixels, not rounded."""
        return {
            "run": self.plan.config.run,
            "axes": self.plan.axis_values,
            "cells": self.plan.cell_count,
            "present": self.present,
            "new": len(self.new),
            "device": self.device,
            "seconds": self.seconds,
            "seconds_all": self.seconds_all,
            "batches": {name: _cost_json(cost) for name, cost in self.batches.items()},
            "refined_at_most": {name: _cost_json(cost) for name, cost in self.refined.items()},
            "disk_free_bytes": self.disk_free,
            "disk_bytes": self.disk and {**asdict(self.disk), "total": self.disk.total},
            "sheets": [asdict(sheet) for sheet in self.sheets],
            "warnings": self.warnings,
            "problems": self.problems,
        }


def forecast_run(plan: Plan, *, probe: bool) -> RunForecast:
    """Estimate what a run will take; ``probe`` measures this machine first."""
    from nstcore.report.outputs import forecast_sheets, sheet_warnings
    from nstcore.resources import preflight
    from nstcore.resources.estimate import InputSizes, Machine, missing_weights

    forecast = RunForecast(plan, new=list(plan.cells()))
    sizes = InputSizes.of(plan)
    forecast.problems += sizes.problems
    forecast.warnings += missing_weights(plan)
    # Keys need prepared images. Do not prepare them if that is bound to fail.
    hopeless = [*preflight.long_names(plan), *preflight.too_many_pixels(plan, sizes)]
    if not [*forecast.problems, *forecast.warnings, *hopeless]:
        try:
            store, keys = Store(plan.config.store_dir), prepare.cell_keys(plan)
            # Of duplicates the first.
            cells = dict(zip(reversed(keys), reversed(list(plan.cells())), strict=True))
            present = {key for key in cells if store.has(key)}
            forecast.new = [cells[key] for key in dict.fromkeys(keys) if key not in present]
            forecast.present = sum(key in present for key in keys)
        except ImageError as error:
            forecast.problems += str(error).splitlines()
    machine: Machine | None = None
    try:
        machine = Machine.here(plan.config)
    except UserError as error:
        forecast.warnings.append(str(error))
    else:
        forecast.device = machine.kind
        add_costs(forecast, sizes, machine, measure_speed(plan, machine) if probe else None)
    forecast.sheets = forecast_sheets(plan, sizes)
    micro_batches = [batch for cost in forecast.costs.values() for batch in cost.micro_batches]
    to_make = [*forecast.new, *plan.most_refined]
    sheet_bytes = sum(sheet.bytes for sheet in forecast.sheets)
    forecast.disk = preflight.estimate_disk(plan, to_make, sizes, micro_batches, sheet_bytes)
    forecast.disk_free = shutil.disk_usage(preflight.existing(plan.config.run_dir)).free
    forecast.warnings += preflight.preflight_warnings(
        plan, sizes, micro_batches, machine, forecast.disk
    )
    forecast.warnings += sheet_warnings(forecast.sheets, plan.config.report.thumbnail)
    return forecast


def add_costs(
    forecast: RunForecast, sizes: InputSizes, machine: Machine, speed: Throughput | None
) -> None:
    """Estimate what cells take on a machine; times only if its speed is known."""
    from nstcore.resources.estimate import estimate_batch, estimate_overhead

    plan = forecast.plan

    def costs(cells: Iterable[Cell]) -> dict[str, BatchCost]:
        batches = by_batch(cells).items()
        return {name: estimate_batch(plan, own, sizes, machine, speed) for name, own in batches}

    forecast.batches, forecast.refined = costs(forecast.new), costs(plan.most_refined)
    if speed is None:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    forecast.seconds_all = estimate_overhead(plan, sizes, speed, cores, from_scratch=True)
    forecast.seconds_all += _seconds(costs([*plan.cells(), *plan.most_refined]))
    forecast.seconds = 0.0
    if forecast.new or not (Path(plan.config.run_dir) / "summary.json").is_file():
        forecast.seconds = estimate_overhead(plan, sizes, speed, cores) + _seconds(forecast.costs)


def measure_speed(plan: Plan, machine: Machine) -> Throughput:
    """How fast this machine is, for everything that a run needs."""
    from nstcore.resources.throughput import measure_throughput

    return measure_throughput(
        [*plan.settings, *plan.refined_settings],
        plan.evaluation_settings,
        machine.kind,
        half=machine.half,
        store=Store(plan.config.store_dir),
    )


def _seconds(batches: dict[str, BatchCost]) -> float:
    return sum(cost.seconds or 0.0 for cost in batches.values())


def job_requests(plan: Plan) -> dict[str, dict[str, float]]:
    """Batch -> what its job takes and asks a cluster for, as if nothing were finished.

    ``seconds`` follow from the speed in the configuration, ``runtime`` is in minutes.
    """
    return {
        name: {
            "cells": len(cells),
            "seconds": requests.expected_seconds(plan, cells),
            "runtime": requests.runtime_minutes(plan, cells),
            "mem_mb": requests.host_mb(plan, cells),
            "gpu_mem_mb": requests.gpu_mb(plan, cells),
        }
        for name, cells in by_batch(plan.cells()).items()
    }


def job_summary(jobs: dict[str, dict[str, float]]) -> str:
    """All jobs in one sentence."""
    seconds = [job["seconds"] for job in jobs.values()]
    minutes, memory, gpu = (
        max(job[name] for job in jobs.values()) for name in ("runtime", "mem_mb", "gpu_mem_mb")
    )
    on_gpu = f", {format_size(1e6 * gpu)} of the GPU" if gpu else ""
    return (
        f"jobs by `cluster.tflops`: {len(jobs)}, each about {format_duration(fmean(seconds))} "
        f"({format_duration(min(seconds))} to {format_duration(max(seconds))}); they ask for up to "
        f"{minutes:.0f} min, {format_size(1e6 * memory)}{on_gpu}"
    )


def print_axes(console: Console, plan: Plan) -> None:
    """Print the axes of a run and count its cells and batches."""
    table = Table("axis", "values", "", title=f"run {plan.config.run}", title_justify="left")
    for axis, values in plan.axis_values.items():
        table.add_row(axis, str(len(values)), ", ".join(map(format_value, values)))
    console.print(table)
    batches = by_batch(plan.cells())
    console.print(
        f"{format_count(plan.cell_count, 'cell')} in {format_count(len(batches), 'batch')}"
    )
    if again := len(plan.most_refined):
        console.print(f"up to {format_count(again, 'cell')} refined when the grid is finished")


def print_forecast(console: Console, forecast: RunForecast) -> None:
    """Print what a run will take."""
    present, new = forecast.present, len(forecast.new)
    if present is None:
        reason = [*forecast.problems, *forecast.warnings][0]
        console.print(f"what the store has is not known yet: {escape(reason)}")
    else:
        duplicates = forecast.plan.cell_count - present - new
        more = f" ({duplicates} more are duplicates of these)" if duplicates else ""
        console.print(f"{present} already in the store, {new} to compute{more}")
    if forecast.seconds is not None and forecast.seconds_all is not None:
        longest = ""
        if forecast.new:
            name, cost = max(forecast.costs.items(), key=lambda pair: pair[1].seconds or 0.0)
            longest = f"; the longest batch, {name}, {format_duration(cost.seconds or 0.0)}"
        console.print(
            f"time: about {format_duration(forecast.seconds)} for what is missing{longest}; about "
            f"{format_duration(forecast.seconds_all)} for the whole grid (at the present speed of this "
            "machine; images that converge early take less)"
        )
    batches = [(name, b) for name, cost in forecast.costs.items() for b in cost.micro_batches]
    if batches:
        name, batch = max(batches, key=lambda pair: pair[1].bytes)
        most = max(cost.bytes for cost in forecast.costs.values())
        how = f"{forecast.device}, {format_count(len(batch.items), 'image')} at a time"
        how += f" in tiles of {batch.tile} px" if batch.tile else ""
        console.print(f"memory: at most about {format_size(most)} ({how}; {name})")
    if disk := forecast.disk:
        console.print(
            f"disk: at most {format_size(disk.total)} (images {format_size(disk.pictures)}, inputs "
            f"{format_size(disk.inputs)}, sheets {format_size(disk.sheets)}, checkpoints "
            f"{format_size(disk.states)}); {format_size(forecast.disk_free)} are free"
        )
    sheets = [
        f"{s.name} {width} x {height} px" for s in forecast.sheets for width, height in s.parts
    ]
    more = f", and {len(sheets) - 6} more" if len(sheets) > 6 else ""
    console.print(f"{format_count(len(sheets), 'contact sheet')}: {', '.join(sheets[:6])}{more}")
    for line in forecast.warnings:
        console.print(f"[yellow]warning:[/] {escape(line)}")


def _cost_json(cost: BatchCost) -> dict[str, Any]:
    return {
        "new": sum(len(batch.items) for batch in cost.micro_batches),
        "seconds": cost.seconds,
        "memory_bytes": cost.bytes,
        "together": max((len(batch.items) for batch in cost.micro_batches), default=0),
        "tile": next((batch.tile for batch in cost.micro_batches if batch.tile), None),
        "history": min((batch.history for batch in cost.micro_batches), default=None),
    }
