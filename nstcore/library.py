"""The library's functions: one image from Python, and the results of a run.

They use what the workflow's jobs use, so that ``stylize`` gives the image of ``nst stylize``.
Nothing here imports torch before it is needed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nstcore.config.loader import resolve_settings
from nstcore.core.color_modes import color_content, color_style, restore_color, style_colors
from nstcore.core.settings import Settings
from nstcore.errors import ImageError, UserError
from nstcore.images import decode, fit_size, load_float, quantize, resize, to_float, write_image
from nstcore.plan.plan import Plan
from nstcore.plan.record import CellRecord
from nstcore.plan.snapshot import SNAPSHOT, read_plan

if TYPE_CHECKING:
    import pandas as pd

    from nstcore.core.encoders.base import Encoder
    from nstcore.core.losses.base import Losses
    from nstcore.jobs.engine import Engine

Image = NDArray[np.float32]
"""(H, W, 3) sRGB in [0, 1]."""

Progress = Callable[[int, int, float, float], None]
"""Called with iterations done, iterations in all, content loss and style loss."""


def load_image(path: Path | str, *, background: str = "#ffffff") -> Image:
    """Read a PNG, JPEG, WebP or TIFF file as (H, W, 3) float32 sRGB in [0, 1].

    Args:
        path: the file. Its orientation is undone, its colors are converted to sRGB.
        background: what transparent pixels are laid over, ``"#rrggbb"`` or a CSS color name.

    Raises:
        ImageError: the file is missing, damaged, too large, or not an image.
    """
    return to_float(decode(path, background=background).pixels)


def save_image(image: NDArray[Any], path: Path | str, *, bits: int = 8, quality: int = 95) -> None:
    """Write an image in the format of the suffix: .png, .jpg, .tif or .webp.

    Args:
        image: (H, W, 3), float in [0, 1] or uint8.
        path: the file; an existing one is replaced.
        bits: bits a channel: 8, or 16 for PNG and TIFF.
        quality: of JPEG, 1 to 100.

    Raises:
        ImageError: the format cannot hold the image, or ``image`` is not one.
    """
    write_image(path, _checked("image", image), bits=bits, quality=quality)


def load_encoder(
    name: str = "compact",
    *,
    weights: Path | str | None = None,
    layers: Iterable[str] = ("relu5_1",),
    device: str = "cpu",
    **settings: Any,
) -> Encoder:
    """Load an encoder: ``encoder(images, layers)`` gives the activations at some layers.

    Args:
        name: ``compact`` or ``vgg19``.
        weights: a file; None for the packaged weights, or torchvision's download of VGG-19.
        layers: every layer that will be asked for; it is built down to the deepest of them.
        device: torch's name of the device.
        **settings: ``pooling`` and ``padding``, as in a configuration.

    Raises:
        ConfigError: an unknown encoder or setting.
        WeightsError: the weights are missing or are not the encoder's.
    """
    from nstcore.core.encoders.base import load_encoder as load

    given = {"encoder": name, **({} if weights is None else {"weights": str(weights)})}
    chosen = resolve_settings({**given, **settings}, where="load_encoder")
    with tempfile.TemporaryDirectory(prefix="nst-") as folder:
        return load(chosen, _fetched(chosen, folder), list(layers), device=device)


def _fetched(settings: Settings, folder: str) -> Path:
    """The weights of an encoder, brought into a folder."""
    from nstcore.core.encoders import fetch

    file = Path(folder, "encoder.safetensors")
    fetch(settings.encoder, settings.weights, file, file.with_suffix(".json"))
    return file


def stylize(
    content: NDArray[Any],
    style: NDArray[Any] | Sequence[NDArray[Any]],
    *,
    style_weights: Sequence[float] | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Image:
    """Paint a content in a style, as ``nst stylize`` does.

    Args:
        content: (H, W, 3), float in [0, 1] or uint8. It is resized to ``size``.
        style: the same, of any size; or several, which are blended.
        style_weights: the shares of several styles; None for equal ones.
        seed: the random seed; it matters with ``init_noise``, or ``init="noise"`` or ``"style"``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        threads: how many the CPU uses; None for all.
        progress: called about every tenth iteration.
        **settings: any setting of a configuration, ``preset`` included: ``size=512``,
            ``style_weight=10``, ``encoder="vgg19"``. ``config/README.md`` lists them.

    Returns:
        (H, W, 3) float32 sRGB in [0, 1] with ``size`` pixels on its long side (see ``size_by``).

    Raises:
        ConfigError: an unknown setting or a value out of range, one line for each.
        ImageError: an array is not an image, or too small for the encoder.
        UserError: the image could not be computed; the line says why.
    """
    chosen = resolve_settings(settings, where="stylize")
    images = [style] if isinstance(style, np.ndarray) else list(style)
    weights = _shares(images, style_weights)
    own_colors = _resized(_checked("content", content), chosen)
    styles = [color_style(chosen, _checked("style", image), own_colors) for image in images]
    from nstcore.core.stylize import StylizeTask
    from nstcore.jobs.engine import Engine, StylizeRequest

    task = StylizeTask(color_content(chosen, own_colors), (), chosen, seed)
    if chosen.init == "style":
        colors = style_colors(chosen, list(zip(styles, weights, strict=True)))
        task = replace(task, style_image=colors)
    if chosen.init_file is not None:
        task = replace(task, start=color_content(chosen, load_image(chosen.init_file)))

    def report(_labels: Sequence[str], done: int, total: int, losses: Losses) -> None:
        if progress is not None:
            progress(done, total, float(losses.content.mean()), float(losses.style.mean()))

    with tempfile.TemporaryDirectory(prefix="nst-") as folder:
        encoder = _fetched(chosen, folder)
        engine = Engine(device, threads)
        request = StylizeRequest(
            label="stylize",
            settings=chosen,
            size=(own_colors.shape[1], own_colors.shape[0]),
            targets=_style_targets(engine, chosen, styles, weights, encoder, Path(folder)),
            weights=encoder,
            read=lambda: task,
        )
        [(_, made)] = engine.make([request], report)
    if made.result is None or made.result.status != "ok":
        raise UserError(f"stylize: no image was made: {made.reason or 'failed'}")
    return np.clip(restore_color(chosen, made.result.image, own_colors), 0, 1)


def _checked(what: str, image: NDArray[Any]) -> Image:
    """An array as (H, W, 3) float32 in [0, 1]; ImageError if it is no image."""
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ImageError(f"{what}: has the shape {array.shape}; give (height, width, 3)")
    if array.dtype == np.uint8:
        return to_float(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(f"{what}: is {array.dtype}; give uint8, or float in [0, 1]")
    if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
        raise ImageError(
            f"{what}: has values outside of [0, 1]; divide them by the largest possible"
        )
    return array.astype(np.float32)


def _resized(image: Image, settings: Settings) -> Image:
    """A content at the size of the result, rounded as its file in a run would be."""
    height, width = image.shape[:2]
    target = fit_size((width, height), settings.size, settings.size_by)
    if target == (width, height):
        return image
    bits = 8 if np.array_equal(to_float(quantize(image, 8)), image) else 16
    return to_float(quantize(resize(image, target), bits))


def _shares(styles: Sequence[NDArray[Any]], weights: Sequence[float] | None) -> list[float]:
    """Weights of the styles that add up to 1."""
    given = [1.0] * len(styles) if weights is None else list(weights)
    if not styles or len(given) != len(styles):
        raise UserError(f"style_weights: {len(given)} weights for {len(styles)} styles")
    if not all(0 < weight < np.inf for weight in given):
        raise UserError("style_weights: give numbers above 0")
    return [weight / sum(given) for weight in given]


def _style_targets(
    engine: Engine,
    settings: Settings,
    styles: Sequence[Image],
    weights: Sequence[float],
    encoder: Path,
    folder: Path,
) -> list[Path]:
    """Files with the style's moments for every level, coarse to fine."""
    from nstcore.core.targets import blend, load_moments, save_moments

    layers = settings.used_style_layers
    targets = []
    for level, level_size in enumerate(settings.level_sizes()):
        files = [folder / f"{level}-{index}.safetensors" for index in range(len(styles))]
        for image, file in zip(styles, files, strict=True):
            size = settings.style_size(level_size)
            engine.style_target(file, image, size, settings, layers, encoder, {})
        target = files[0]
        if len(files) > 1:
            target = folder / f"{level}.safetensors"
            save_moments(target, blend([load_moments(file)[0] for file in files], weights), {})
        targets.append(target)
    return targets


@dataclass(frozen=True)
class RunCell:
    """One cell of a run.

    Attributes:
        style, content, setting, seed: its place in the grid; ``setting`` spells the values of the sweep.
        path: of its image, which may not be there yet.
        record: how the image was made, the JSON beside it; None while there is none.
    """

    style: str
    content: str
    setting: str
    seed: int
    path: Path
    record: CellRecord | None

    def load(self) -> Image:
        """The image, (H, W, 3) in [0, 1]; of a failed cell a placeholder.

        Raises:
            ImageError: it is missing or damaged.
        """
        return load_float(self.path)


@dataclass(frozen=True)
class Run:
    """A run's folder, finished or under way."""

    folder: Path

    @cached_property
    def plan(self) -> Plan:
        """What the run was started with; ConfigError if an input is no longer where it was."""
        return read_plan(self.folder / SNAPSHOT)

    @cached_property
    def cells(self) -> list[RunCell]:
        """Every cell in the order of the grid, with the records that are there now."""
        from nstcore.results.tables import read_grid, read_records

        grid, cells = read_grid(self.folder / "grid.tsv"), []
        for row, (record, problem) in zip(grid.rows, read_records(grid, self.folder), strict=True):
            place = (row["style"], row["content"], row["setting"], int(row["seed"]))
            known = record if problem is None else None
            cells.append(RunCell(*place, self.folder / row["image"], known))
        return cells

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row a cell in the order of the grid; what is not finished has the status ``missing``."""
        from nstcore.results.tables import collect

        return collect(self.folder / "grid.tsv", self.folder, missing="placeholder")[0]


def open_run(folder: Path | str) -> Run:
    """Open a run's folder, such as ``results/demo``, to read its plan, its cells and their metrics.

    Raises:
        UserError: it is not a run's folder.
    """
    folder = Path(folder)
    if not (folder / SNAPSHOT).is_file():
        raise UserError(
            f"{folder}: has no {SNAPSHOT}; give the folder of a run, such as results/demo"
        )
    return Run(folder)
