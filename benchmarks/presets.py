"""What the presets are worth, at one and the same fidelity to the content.

Presets differ in what a style weight means to the eye, so they can be compared only where the content
is kept equally well.  For each preset and encoder the style weight is sought at which VGG-19 finds a
given relative content error; the picture made there, alone and timed, is judged by VGG-19 at the
size of the result.  Beside the presets as they are stands the other style statistic at the same settings.

    python benchmarks/presets.py --weights vgg19.pth --content photo.jpg --style painting.jpg

``--crowson DIR`` also judges a checkout of crowsonkb/style-transfer-pytorch on its own defaults, as in
``peers.py``, in the same run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import _crowson
import numpy as np
from _common import (
    add_options,
    machine_name,
    make_encoder,
    save,
    show,
    table,
    timed_process,
    use_threads,
)
from encoder_quality import Judge, Judged

from nstcore.config.loader import resolve_settings
from nstcore.core.encoders.vgg import read_state
from nstcore.core.settings import PRESETS, Settings
from nstcore.core.stylize import StylizeTask, stylize
from nstcore.core.targets import image_moments
from nstcore.images import fit_size, load_float, resize, write_image
from nstcore.store.files import file_sha256

TRIALS = 4
"""Pictures, at most, from which the style weight is interpolated."""

CLOSE = 0.04
"""A content error within this share of the wanted one is close enough."""


@dataclass
class Row:
    """One preset with one encoder and statistic, at the wanted content error."""

    preset: str
    encoder: str
    statistic: str
    style_weight: float
    seconds: float
    iterations: int
    content: float
    style: float
    held_out: float


def variants(options: argparse.Namespace) -> list[tuple[str, Settings]]:
    """Preset names and settings: each preset, with each encoder and each statistic."""
    found = []
    for name in options.presets:
        for encoder in options.encoders:
            for statistic in options.statistics:
                given = {"size": options.size, "encoder": encoder}
                if name != "default":
                    given["preset"] = name
                own = resolve_settings(given)
                found.append(
                    (name, own.model_copy(update={"statistic": statistic or own.statistic}))
                )
    return found


def make(
    settings: Settings, options: argparse.Namespace, pictures: Sequence[np.ndarray]
) -> tuple[np.ndarray, float, int]:
    """One picture, alone: pixels, seconds of the descent with its targets, iterations."""
    weights = options.weights if settings.encoder == "vgg19" else None
    encoder = make_encoder(settings.encoder, weights, "relu5_1", options.device)
    content, style = pictures
    began = time.perf_counter()
    targets = [
        image_moments(
            encoder, style, settings.style_size(level), list(settings.style_layers), options.device
        )
        for level in settings.level_sizes()
    ]
    (result,) = stylize(encoder, [StylizeTask(content, targets, settings)], device=options.device)
    seconds = time.perf_counter() - began
    return result.image, seconds, sum(level.iterations for level in result.levels)


def find(
    name: str,
    settings: Settings,
    options: argparse.Namespace,
    pictures: Sequence[np.ndarray],
    judge: Judge,
) -> Row:
    """The picture of a preset at the wanted content error; the last trial, if none comes close."""
    wanted = float(np.log(options.content_error))
    known: list[tuple[float, float]] = []
    weight = options.start_weight
    for trial in range(TRIALS):
        own = settings.model_copy(update={"style_weight": weight})
        image, seconds, iterations = make(own, options, pictures)
        judged: Judged = judge(image)
        print(f"{name} {own.encoder} {own.statistic} {weight:.3g}: {judged}", flush=True)
        known.append((float(np.log(weight)), float(np.log(judged.content))))
        if abs(known[-1][1] - wanted) <= CLOSE or trial == TRIALS - 1:
            break
        weight = float(np.exp(_next(known, wanted)))
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
        write_image(options.pictures / f"{name}-{own.encoder}-{own.statistic}.png", image)
    return Row(
        name,
        own.encoder,
        own.statistic,
        weight,
        seconds,
        iterations,
        judged.content,
        judged.style,
        judged.held_out,
    )


def _next(known: Sequence[tuple[float, float]], wanted: float) -> float:
    """Log of the next style weight: by the secant through the two nearest trials."""
    nearest = sorted(known, key=lambda point: abs(point[1] - wanted))
    here, error = nearest[0]
    slope = 0.5
    if len(nearest) > 1 and abs(nearest[1][1] - error) > 1e-6:
        slope = (nearest[1][1] - error) / (nearest[1][0] - here)
    # More style never brings the content back: a slope that says so is noise.
    return here + float(np.clip((wanted - error) / max(slope, 0.15), -3, 3))


def run_crowson(
    options: argparse.Namespace, folder: Path, pictures: Sequence[np.ndarray], judge: Judge
) -> Row:
    """The other program on its own defaults, a whole process."""
    _crowson.write_weights(read_state(options.weights), folder / "torch")
    for name, pixels in zip(("content", "style"), pictures, strict=True):
        write_image(folder / f"{name}.png", pixels)
    files = (str(folder / "content.png"), str(folder / "style.png"))
    cost = timed_process(
        _crowson.command(options.peer_python, files, options.size, options.device),
        folder=folder,
        environment={"PYTHONPATH": str(options.crowson), "TORCH_HOME": str(folder / "torch")},
    )
    height, width = pictures[0].shape[:2]
    image = resize(load_float(folder / _crowson.OUTPUT), (width, height))
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
        write_image(options.pictures / "crowson.png", image)
    judged = judge(image)
    return Row(
        "style-transfer-pytorch", "vgg19", "w2", 0, cost.seconds, 0, *asdict(judged).values()
    )


def to_markdown(result: dict[str, Any]) -> list[str]:
    """The page of results."""
    rows = [
        [
            row["preset"],
            row["encoder"],
            row["statistic"],
            show(row["style_weight"]) if row["style_weight"] else None,
            row["iterations"] or None,
            show(row["seconds"]),
            show(row["content"]),
            show(row["style"]),
            show(row["held_out"]),
        ]
        for row in result["rows"]
    ]
    heads = [
        "preset",
        "encoder",
        "statistic",
        "style weight",
        "iterations",
        "seconds",
        "content",
        "style",
        "held out",
    ]
    return [
        "# Presets at the same content error",
        "",
        f"Machine: {result['machine']}. torch {result['torch']}. {result['pair']}, long side "
        f"{result['size']} px; relative errors under VGG-19; wanted content error "
        f"{show(result['content_error'])}, within {CLOSE:.0%}.",
        "",
        *table(heads, rows),
        "",
        "Seconds: the descent of one picture with its style targets; for style-transfer-pytorch the "
        "whole process.",
        "",
        "    python benchmarks/presets.py --weights … --content … --style … --crowson … --peer-python …",
    ]


def main() -> None:
    """Measure and write ``presets.json`` and ``.md``, on a GPU ``presets_cuda``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", type=Path, required=True, help="VGG-19 state dict")
    parser.add_argument("--content", type=Path, required=True)
    parser.add_argument("--style", type=Path, required=True)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--content-error", type=float, default=0.30)
    parser.add_argument("--start-weight", type=float, default=5.0)
    parser.add_argument("--presets", nargs="+", default=["default", "fast", "best"])
    parser.add_argument("--encoders", nargs="+", default=["vgg19", "compact"])
    parser.add_argument("--statistics", nargs="+", default=["gram", "w2"], choices=("gram", "w2"))
    parser.add_argument("--crowson", type=Path, help="a checkout of style-transfer-pytorch")
    parser.add_argument("--peer-python", type=Path, help="Python where its requirements are")
    parser.add_argument("--pictures", type=Path, help="folder for all pictures")
    add_options(parser)
    options = parser.parse_args()
    unknown = sorted({*options.presets} - {"default", *PRESETS})
    if unknown:
        parser.error(
            f"--presets: there is no {unknown[0]}; there are default, {', '.join(PRESETS)}"
        )
    if options.crowson is not None and options.peer_python is None:
        parser.error("--crowson needs --peer-python")
    use_threads(options.threads)
    import torch

    content = load_float(options.content)
    content = resize(content, fit_size((content.shape[1], content.shape[0]), options.size))
    style = load_float(options.style)
    style = resize(style, fit_size((style.shape[1], style.shape[0]), options.size))
    judge_network = make_encoder("vgg19", options.weights, "relu5_1", options.device)
    judge = Judge(judge_network, content, style, options.device)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="presets-") as name:
        if options.crowson is not None:
            # Before and after would be fairer still; it takes as long as all else together.
            for key in ("crowson", "peer_python"):
                setattr(options, key, getattr(options, key).absolute())
            rows.append(run_crowson(options, Path(name), (content, style), judge))
        for preset, settings in variants(options):
            rows.append(find(preset, settings, options, (content, style), judge))
    result = {
        "machine": machine_name(options.device),
        "torch": torch.__version__,
        "weights_sha256": file_sha256(options.weights),
        "pair": f"{options.content.stem} × {options.style.stem}",
        "size": options.size,
        "content_error": options.content_error,
        "rows": [asdict(row) for row in rows],
    }
    save(
        "presets" if options.device == "cpu" else "presets_cuda",
        result,
        to_markdown(result),
        options.out,
    )


if __name__ == "__main__":
    main()
