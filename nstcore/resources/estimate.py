"""What a run will take in time and memory, before it is started.

Memory is counted (:mod:`nstcore.resources.memory_model`).  Time follows from the settings and from what
:mod:`nstcore.resources.microbenchmark` measured on a machine.  It is that of all iterations: a picture
that converges early takes less.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nstcore.config.run import Config
from nstcore.core.encoders.layers import deepest
from nstcore.core.encoders.weights import locate
from nstcore.core.pyramid import Size, area, levels, picture_size
from nstcore.core.settings import Settings, batch_key
from nstcore.core.tile_grid import receptive_margin, stride, tile_grid
from nstcore.errors import ImageError, UserError, WeightsError
from nstcore.images import fit_size
from nstcore.images.masks import read_guide
from nstcore.images.reading import upright_size
from nstcore.plan import paths, preparation
from nstcore.plan.plan import Cell, Plan
from nstcore.resources.memory_model import MEMORY_SHARE, Budget, fit_batch, peak_bytes
from nstcore.resources.throughput import Throughput, evaluation_key_of_encoder, iteration_key

JOB_SECONDS = 0.3
"""What Snakemake itself takes to start a job on this machine, measured."""

PROCESS_BYTES = 6.2e8
"""Memory of a job before its first picture, where it is not measured: Python, torch, what they load."""

FORWARD = 1 / 3
"""Share of an iteration that the network's forward pass takes; backward takes twice as long."""


@dataclass(frozen=True)
class InputSizes:
    """Native sizes of a run's pictures, upright.

    Attributes:
        contents: content -> size.
        styles: style -> size of each of its pictures.
        problems: one line for each picture that cannot be read; it is in neither of the others.
    """

    contents: Mapping[str, Size]
    styles: Mapping[str, Sequence[Size]]
    problems: Sequence[str]

    @classmethod
    def of(cls, plan: Plan) -> InputSizes:
        """Read them from the headers of the files."""
        problems: list[str] = []
        contents: dict[str, Size] = {}
        styles: dict[str, list[Size]] = {}
        for content, one in plan.contents.items():
            try:
                contents[content] = upright_size(one.path)
            except ImageError as error:
                problems.append(f"contents.{content}: {error}")
        for style, source in plan.styles.items():
            for path in source.paths:
                try:
                    styles.setdefault(style, []).append(upright_size(path))
                except ImageError as error:
                    problems.append(f"styles.{style}: {error}")
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
        from nstcore.resources.free_memory import free_bytes

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
class EstimatedBatch:
    """Pictures of one batch that are made at the same time.

    Attributes:
        cells: what is made.
        settings: of the first; those that matter here are the same for all.
        size: of the pictures.
        budget: how they are made to fit.
        bytes: that they take together.
        fits: whether that is what one batch may take of the free memory.
    """

    cells: tuple[Cell, ...]
    settings: Settings
    size: Size
    budget: Budget
    bytes: float
    fits: bool


@dataclass(frozen=True)
class BatchCost:
    """What a batch takes.

    Attributes:
        seconds: None where no speed is known.
        bytes: most memory, on a GPU that of the GPU.
        works: how its pictures are shared out.
    """

    seconds: float | None
    bytes: float
    works: Sequence[EstimatedBatch]


def estimate_batch(
    plan: Plan,
    cells: Iterable[Cell],
    sizes: InputSizes,
    machine: Machine,
    rates: Throughput | None = None,
) -> BatchCost:
    """Time and memory of one job.

    Args:
        plan: the run.
        cells: of one batch, as far as they have to be made; those of unreadable pictures are left out.
        sizes: of the run's pictures.
        machine: where the job runs.
        rates: how fast that is; None to leave time out.
    """
    works = list(_works(plan, cells, sizes, machine))
    most = max((work.bytes for work in works), default=0.0)
    if machine.kind != "cuda":
        most += PROCESS_BYTES if rates is None else rates.process_bytes
    if rates is None:
        return BatchCost(None, most, works)
    seconds = rates.start + JOB_SECONDS if works else rates.light_start + JOB_SECONDS
    judge = plan.evaluation
    for work in works:
        seconds += descent_seconds(work, rates, machine)
        seen = fit_size(work.size, judge["size"])
        written = work.size[0] * work.size[1] * plan.config.output.bits / 8
        seconds += len(work.cells) * (
            written * (rates.save + rates.load)
            + seen[0]
            * seen[1]
            * rates.judges[evaluation_key_of_encoder(judge["encoder"], judge["weights"])]
        )
    return BatchCost(seconds, most, works)


def descent_seconds(work: EstimatedBatch, rates: Throughput, machine: Machine) -> float:
    """Of all iterations of pictures that are made at the same time.

    Args:
        work: the pictures.
        rates: how fast the machine is.
        machine: where they are made.
    """
    speed = rates.iterations[iteration_key(work.settings, machine.precision)]
    seconds = 0.0
    for size, iterations in levels(work.settings, work.size):
        pixels = area(size) * tiles_factor(size, work.budget.tile, work.settings)
        # One more for the targets of the level.
        seconds += (iterations + 1) * speed.seconds(pixels, len(work.cells))
    return seconds


def _works(
    plan: Plan, cells: Iterable[Cell], sizes: InputSizes, machine: Machine
) -> Iterator[EstimatedBatch]:
    """How the engine will share out cells: what goes together, as many as fit."""
    groups: dict[tuple[Size, str, str | None, int], list[Cell]] = {}
    for cell in cells:
        settings = cell.settings
        if cell.content in sizes.contents:
            size = picture_size(sizes.contents[cell.content], settings)
            regions = _region_count(plan, cell.content)
            key = (size, batch_key(settings), settings.weights, regions)
            groups.setdefault(key, []).append(cell)
    config = plan.config
    for (size, _, _, regions), members in groups.items():
        settings = members[0].settings
        wanted = min(len(members), config.batch_size or len(members))
        budget, need = fit_batch(
            settings, *size, machine.kind, machine.free, wanted, config.tile, regions
        )
        for start in range(0, len(members), budget.batch):
            part = tuple(members[start : start + budget.batch])
            taken = peak_bytes(
                settings,
                *size,
                len(part),
                history=budget.history,
                device=machine.kind,
                tile=budget.tile,
                regions=regions,
            )
            yield EstimatedBatch(part, settings, size, budget, taken, need <= machine.share)


def _region_count(plan: Plan, content: str) -> int:
    """How many regions a content has; 0 without a guide, or with one that cannot be read."""
    guide = plan.contents[content].guide
    files = [guide] if isinstance(guide, str) else list((guide or {}).values())
    changed = tuple(Path(file).stat().st_mtime_ns for file in files)
    return _regions_of(json.dumps(guide), changed) if files else 0


@lru_cache
def _regions_of(guide: str, _changed: tuple[int, ...]) -> int:
    try:
        return len(read_guide(json.loads(guide)).names)
    except ImageError:
        return 0


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
    tiles = tile_grid(
        height, width, tile, receptive_margin(settings.layers), stride(deepest(settings.layers))
    )
    if len(tiles) == 1:
        return 1.0
    seen = 0
    for rows, columns in (one.outer for one in tiles):
        seen += (rows.stop - rows.start) * (columns.stop - columns.start)
    return (1 + FORWARD) * seen / (width * height)


def estimate_around(
    plan: Plan, sizes: InputSizes, rates: Throughput, cores: int, *, again: bool = False
) -> float:
    """Seconds of all jobs before and after the batches.

    Args:
        plan: the run.
        sizes: of its pictures.
        rates: of this machine.
        cores: how many jobs that only handle files run at the same time.
        again: whether to count what stands in the run's folder already.
    """
    run = Path(plan.config.run_dir)

    def there(pattern: str, **parts: object) -> bool:
        return not again and (run / pattern.format(**parts)).is_file()

    light = heavy = 0.0
    for content, native in sizes.contents.items():
        missing = [
            size
            for label, size in prepared_sizes(plan, native).items()
            if not there(paths.CONTENT, content=content, size=label)
        ]
        if missing:
            written = sum(map(area, missing))
            light += rates.light_start + JOB_SECONDS
            light += area(native) * rates.load + written * rates.save
    requests = preparation.target_requests(plan)
    for style, pictures in sizes.styles.items():
        for index, native in enumerate(pictures):
            if not there(paths.STYLE, style=style, index=index):
                light += rates.light_start + JOB_SECONDS
                light += area(native) * (rates.load + rates.save)
        wanted = [
            request
            for name, request in requests.items()
            if not there(paths.TARGET, style=style, target=name)
        ]
        if wanted:
            heavy += rates.start + JOB_SECONDS
            for settings, _, size in wanted:
                # No style is enlarged.
                pixels = sum(
                    min(area(p), area(fit_size(p, size, settings.size_by))) for p in pictures
                )
                heavy += FORWARD * pixels * _slowest(rates, settings)
    for encoder in preparation.encoders(plan):
        if not there(paths.ENCODER, encoder=encoder):
            heavy += rates.start + JOB_SECONDS
    shown = sum(
        area(picture_size(sizes.contents[c.content], c.settings))
        for c in plan.cells()
        if c.content in sizes.contents
    )
    # The grid, the tables, the sheets, the report, the check; sheets and report read every picture.
    light += 5 * (rates.light_start + JOB_SECONDS) + 2 * shown * rates.load
    return light / max(1, cores) + heavy


def _slowest(rates: Throughput, settings: Settings) -> float:
    """Seconds a pixel of an iteration of the encoder of some settings, the slowest that is known."""
    for precision in ("float32", "bfloat16"):
        speed = rates.iterations.get(iteration_key(settings, precision))
        if speed is not None:
            return speed.pixel
    return max((speed.pixel for speed in rates.iterations.values()), default=0.0)


def missing_weights(plan: Plan) -> list[str]:
    """One line for every encoder whose weights are not on this machine."""
    lines = []
    for encoder, weights in preparation.encoders(plan).values():
        try:
            locate(encoder, weights)
        except WeightsError as error:
            lines.append(str(error))
    return lines
