"""What a run will take in time and memory, before it is started.

Memory is counted (:mod:`nstcore.resources.memory_model`).  Time follows from the settings and from what
:mod:`nstcore.resources.throughput` measured on a machine.  It is that of all iterations: a picture
that converges early takes less.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nstcore.config.run import Config
from nstcore.core.encoders import locate
from nstcore.core.geometry import Size, area, image_size, tile_grid
from nstcore.core.settings import Settings
from nstcore.errors import ImageError, UserError, WeightsError
from nstcore.images import fit_size
from nstcore.images.masks import read_guide
from nstcore.images.reading import upright_size
from nstcore.plan import paths
from nstcore.plan.batching import split_inputs
from nstcore.plan.cost_model import cell_flops, sum_iterations
from nstcore.plan.plan import Cell, Plan, by_batch
from nstcore.resources.memory_model import MEMORY_SHARE, BatchInput, MicroBatch, split_batches
from nstcore.resources.throughput import Throughput, evaluation_key_of_encoder, iteration_key

JOB_SECONDS = 0.3
"""What Snakemake itself takes to start a job on this machine, measured."""

PROCESS_BYTES = 6.2e8
"""Memory of a job before its first picture, where it is not measured: Python, torch, what they load."""

FORWARD = 1 / 3
"""Share of an iteration that the network's forward pass takes; backward takes twice as long."""


@dataclass(frozen=True)
class InputSizes:
    """Native sizes of a run's images, upright.

    Attributes:
        contents: content -> size.
        styles: style -> size of each of its images.
        problems: one line for each image that cannot be read; it is in neither of the others.
    """

    contents: Mapping[str, Size]
    styles: Mapping[str, Sequence[Size]]
    problems: Sequence[str]

    @classmethod
    def of(cls, plan: Plan) -> InputSizes:
        """Read them from the headers of the files."""
        problems: list[str] = []

        def read(where: str, files: Iterable[str]) -> Iterator[Size]:
            for path in files:
                try:
                    yield upright_size(path)
                except ImageError as error:
                    problems.append(f"{where}: {error}")

        contents = {
            name: size
            for name, content in plan.contents.items()
            for size in read(f"contents.{name}", [content.path])
        }
        styles = {
            name: list(read(f"styles.{name}", style.paths)) for name, style in plan.styles.items()
        }
        return cls(contents, styles, problems)


@dataclass(frozen=True)
class Machine:
    """Where cells are optimized.

    Attributes:
        kind: ``cpu``, ``cuda`` or ``mps``.
        free: bytes that a job may take there.
        half: whether the encoder convolves in bfloat16.
    """

    kind: str
    free: float
    half: bool = False

    @classmethod
    def here(cls, config: Config) -> Machine:
        """This machine, as the configuration will use it.

        Raises:
            UserError: if the configuration's device is not there, or torch is not.
        """
        try:
            import torch
        except ImportError:
            raise UserError(
                "torch is not installed on this machine, so that what batches take here is not told"
            ) from None
        from nstcore.resources.device import convolves_in_half, device_kind
        from nstcore.resources.device_memory import free_bytes

        kind = device_kind(config.device)
        return cls(kind, free_bytes(torch.device(kind)), convolves_in_half(config.precision, kind))

    @property
    def share(self) -> float:
        """Bytes that one batch may take by our estimate."""
        return MEMORY_SHARE * self.free

    @property
    def precision(self) -> str:
        """What the encoder convolves in."""
        return "bfloat16" if self.half else "float32"


@dataclass(frozen=True)
class BatchCost:
    """What a job takes.

    Attributes:
        seconds: None where the speed of the machine is not known.
        bytes: most memory, on a GPU that of the GPU.
        micro_batches: how its cells are divided.
    """

    seconds: float | None
    bytes: float
    micro_batches: Sequence[MicroBatch[Cell]]


def estimate_batch(
    plan: Plan,
    cells: Iterable[Cell],
    sizes: InputSizes,
    machine: Machine,
    rates: Throughput | None = None,
) -> BatchCost:
    """Time and memory of one job.

    Args:
        plan, sizes, machine: the run, its images, and where the job runs.
        cells: of one batch that are not finished; those of unreadable images are left out.
        rates: how fast the machine is; None to leave time out.
    """

    def describe(cell: Cell) -> BatchInput:
        size = image_size(sizes.contents[cell.content], cell.settings)
        regions = _region_names(plan, cell.content)
        return BatchInput(cell.settings, size, cell.settings.weights, regions)

    readable = [cell for cell in cells if cell.content in sizes.contents]
    batches = split_batches(
        readable,
        describe,
        machine.kind,
        machine.free,
        most=plan.config.batch_size,
        tile=plan.config.tile,
        half=machine.half,
    )
    micro_batches = list(batches)
    most = max((batch.bytes for batch in micro_batches), default=0.0)
    if machine.kind != "cuda":
        most += PROCESS_BYTES if rates is None else rates.process_bytes
    if rates is None:
        return BatchCost(None, most, micro_batches)
    seconds = JOB_SECONDS + (rates.start if micro_batches else rates.light_start)
    evaluation = plan.evaluation
    key = evaluation_key_of_encoder(evaluation["encoder"], evaluation["weights"])
    for batch in micro_batches:
        seconds += optimization_seconds(batch, rates, machine)
        written = area(batch.size) * plan.config.output.bits / 8
        evaluated = area(fit_size(batch.size, evaluation["size"]))
        seconds += len(batch.items) * (
            written * (rates.save + rates.load) + evaluated * rates.judges[key]
        )
    return BatchCost(seconds, most, micro_batches)


def optimization_seconds(batch: MicroBatch[Cell], rates: Throughput, machine: Machine) -> float:
    """Time of all iterations of images that are optimized at the same time."""
    speed = rates.iterations[iteration_key(batch.settings, machine.precision)]

    def iteration_seconds(size: Size) -> float:
        pixels = area(size) * tiles_factor(size, batch.tile, batch.settings)
        return speed.seconds(pixels, len(batch.items))

    return sum_iterations(batch.settings, batch.size, iteration_seconds)


def _region_names(plan: Plan, content: str) -> tuple[str, ...]:
    """Names of a content's regions; empty without a guide, or with one that cannot be read."""
    guide = plan.contents[content].guide
    files = [guide] if isinstance(guide, str) else list((guide or {}).values())
    modified = tuple(Path(file).stat().st_mtime_ns for file in files)
    return _names_in_guide(json.dumps(guide), modified) if files else ()


@lru_cache
def _names_in_guide(guide: str, _modified: tuple[int, ...]) -> tuple[str, ...]:
    try:
        return read_guide(json.loads(guide)).names
    except ImageError:
        return ()


def prepared_sizes(plan: Plan, native: Size) -> dict[str, Size]:
    """Width and height of a content at every size at which it is prepared, by its name in paths."""
    return {label: fit_size(native, size, by) for label, (size, by) in plan.sizes.items()}


def tiles_factor(size: Size, tile: int | None, settings: Settings) -> float:
    """How many times longer an iteration takes in tiles, where a picture needs more than one.

    Outer windows overlap, and each of them goes forward twice and backward once.
    """
    if tile is None:
        return 1.0
    width, height = size
    spec, layers = settings.encoder_spec, settings.layers
    tiles = tile_grid(height, width, tile, spec.margin(layers), spec.stride(*layers))
    if len(tiles) == 1:
        return 1.0
    outer = (one.outer for one in tiles)
    seen: int = sum((y.stop - y.start) * (x.stop - x.start) for y, x in outer)
    return (1 + FORWARD) * seen / (width * height)


def estimate_overhead(
    plan: Plan, sizes: InputSizes, rates: Throughput, cores: int, *, from_scratch: bool = False
) -> float:
    """Seconds of all jobs before and after the batches.

    Args:
        plan, sizes, rates: see `estimate_batch`.
        cores: how many jobs that only handle files run at the same time.
        from_scratch: whether to count also what is in the run's folder already.
    """
    run = Path(plan.config.run_dir)

    def missing(pattern: str, **parts: object) -> bool:
        return from_scratch or not (run / pattern.format(**parts)).is_file()

    file_job, torch_job = (JOB_SECONDS + start for start in (rates.light_start, rates.start))
    parallel = serial = 0.0  # jobs that handle files, and those that compute
    prepared: set[str] = set()
    computed: set[str] = set()
    for content, native in sizes.contents.items():
        written = [
            size
            for label, size in prepared_sizes(plan, native).items()
            if missing(paths.CONTENT, content=content, size=label)
        ]
        if written:
            prepared.add(content)
            parallel += area(native) * rates.load + sum(map(area, written)) * rates.save
    parallel += file_job * len(split_inputs(prepared))
    prepared = set()
    for style, images in sizes.styles.items():
        for index, native in enumerate(images):
            if missing(paths.STYLE, style=style, index=index):
                prepared.add(style)
                parallel += area(native) * (rates.load + rates.save)
        for name, (settings, _, size) in plan.targets.items():
            if missing(paths.TARGET, style=style, target=name):
                computed.add(style)
                # No style is enlarged.
                fitted = [min(area(i), area(fit_size(i, size, settings.size_by))) for i in images]
                serial += FORWARD * sum(fitted) * _seconds_per_pixel(rates, settings)
    parallel += file_job * len(split_inputs(prepared))
    if plan.targets_first:
        serial += torch_job * len(split_inputs(computed))
    serial += torch_job * sum(missing(paths.ENCODER, encoder=name) for name in plan.encoders)
    results = sum(
        area(image_size(sizes.contents[cell.content], cell.settings))
        for cell in plan.cells()
        if cell.content in sizes.contents
    )
    # The grid, the tables, the sheets, the report, the check; sheets and report read every image.
    parallel += 5 * file_job + 2 * results * rates.load
    return parallel / max(1, cores) + serial


def _seconds_per_pixel(rates: Throughput, settings: Settings) -> float:
    """Of an iteration with the encoder of some settings, or of the slowest that is known."""
    for precision in ("float32", "bfloat16"):
        speed = rates.iterations.get(iteration_key(settings, precision))
        if speed is not None:
            return speed.pixel
    return max((speed.pixel for speed in rates.iterations.values()), default=0.0)


def missing_weights(plan: Plan) -> list[str]:
    """One line for every encoder whose weights are not on this machine."""
    lines = []
    for encoder, weights in plan.encoders.values():
        try:
            locate(encoder, weights)
        except WeightsError as error:
            lines.append(str(error))
    return lines


# --- The speed of a machine, as `cluster.tflops` gives it. ---


def measured_tflops(
    plan: Plan, sizes: InputSizes, machine: Machine, rates: Throughput
) -> dict[str, float]:
    """What the cells of this run reach on a machine: encoder -> 10^12 operations a second.

    Small images and small batches use a device badly, so the run's own batches are what counts.
    """
    flops, seconds = defaultdict[str, float](float), defaultdict[str, float](float)
    for cells in by_batch(plan.cells()).values():
        for batch in estimate_batch(plan, cells, sizes, machine).micro_batches:
            encoder = batch.settings.encoder
            flops[encoder] += len(batch.items) * cell_flops(batch.settings, batch.size)
            seconds[encoder] += optimization_seconds(batch, rates, machine)
    return {encoder: 1e-12 * count / seconds[encoder] for encoder, count in flops.items()}


def as_yaml(tflops: Mapping[str, float], device: str) -> str:
    """Lines for a configuration.

    Example:
        >>> print(as_yaml({"compact": 0.21263}, "a CPU"), end="")
        cluster:
          tflops: {compact: 0.213}    # a CPU
    """
    values = ", ".join(f"{name}: {value:.3g}" for name, value in sorted(tflops.items()))
    return f"cluster:\n  tflops: {{{values}}}    # {device}\n"
