"""The speed of this machine as ``cluster.tflops`` tells it, from a measurement of a few seconds."""

from __future__ import annotations

from collections.abc import Mapping

from nstcore.plan.cost_model import cell_flops
from nstcore.plan.plan import Cell, Plan
from nstcore.resources.estimate import InputSizes, Machine, descent_seconds, estimate_batch
from nstcore.resources.throughput import Throughput


def measured_tflops(
    plan: Plan, sizes: InputSizes, machine: Machine, rates: Throughput
) -> dict[str, float]:
    """What descents of this run reach here: encoder -> 10^12 operations a second.

    Small pictures and small batches use a device badly, hence the run's own batches count.

    Args:
        plan: the run.
        sizes: of its pictures.
        machine: this one.
        rates: measured of it.
    """
    batches: dict[str, list[Cell]] = {}
    for cell in plan.cells():
        batches.setdefault(cell.batch, []).append(cell)
    flops: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for cells in batches.values():
        for work in estimate_batch(plan, cells, sizes, machine).works:
            name = work.settings.encoder
            counted = len(work.cells) * cell_flops(work.settings, work.size)
            flops[name] = flops.get(name, 0.0) + counted
            seconds[name] = seconds.get(name, 0.0) + descent_seconds(work, rates, machine)
    return {name: 1e-12 * count / seconds[name] for name, count in flops.items()}


def as_yaml(tflops: Mapping[str, float], device: str) -> str:
    """Lines for a configuration.

    Example:
        >>> print(as_yaml({"compact": 0.21263}, "a CPU"), end="")
        cluster:
          tflops: {compact: 0.213}    # a CPU
    """
    values = ", ".join(f"{name}: {value:.3g}" for name, value in sorted(tflops.items()))
    return f"cluster:\n  tflops: {{{values}}}    # {device}\n"
