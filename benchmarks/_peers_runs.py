"""What ``peers.py`` runs: pictures by the peers, grids by ``nst run``, and the shortest descents."""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _crowson
import numpy as np
import torch
import yaml
from _common import NST, Cost, make_encoder, timed_process
from _neural_style import (
    WEIGHTS_FILE,
    PeerLoss,
    Picture,
    Pixels,
    caffe_state,
    command,
    printed_loss,
)

from nstcore.core.encoders import (
    EVAL_STYLE_LAYERS,
    VGG19,
)
from nstcore.core.encoders.vgg import VGG, read_state
from nstcore.core.image_similarity import StyleImage
from nstcore.core.metrics import MetricTargets, evaluate
from nstcore.core.settings import Settings
from nstcore.core.stylize import StylizeTask, stylize
from nstcore.core.targets import image_moments
from nstcore.images import fit_size, load_float, read_record, resize, write_image

TOLERANCE = 0.1
"""Of the shortest descent's length."""

LONGEST = 2
"""A descent longer than so many times neural-style's, at the full size, is not tried."""

GRIDS = {"vgg19": "vgg19", "compact": "compact", "compact_longer": "compact"}
"""Our grids and their encoders; the last has its own schedule, ``--longer``."""

EVAL_LAYERS = ("content_loss", "style_loss", "style_loss_held_out")


@dataclass
class Pair:
    """One content and one style: pictures that both programs get as they are, and what judges results.

    Attributes:
        name: ids of content and style.
        files: of content and style, relative to the working folder.
        pixels: of content and style.
        loss: neural-style's own, under VGG-19.
        reference: for ``nstcore.core.metrics``.
    """

    name: tuple[str, str]
    files: tuple[str, str]
    pixels: tuple[Pixels, Pixels]
    loss: PeerLoss
    reference: MetricTargets

    def judge(self, judge: VGG, picture: Pixels, style_weight: float) -> dict[str, float]:
        """Metrics and neural-style's loss of a picture."""
        height, width = self.reference.content.shape[:2]
        found = evaluate(judge, resize(picture, (width, height)), self.reference)
        return {key: found[key] for key in EVAL_LAYERS} | {
            "peer_loss": self.loss.total(picture, style_weight)
        }


@dataclass
class Bench:
    """The command line, the judge, the pairs, and the folder where all is done."""

    options: argparse.Namespace
    folder: Path
    judge: VGG
    pairs: list[Pair] = field(default_factory=list)

    def prepare(self) -> None:
        """Write the weights for neural-style, and pictures at the size at which they are used."""
        torch.save(caffe_state(read_state(self.options.weights)), self.folder / WEIGHTS_FILE)
        sized: dict[str, dict[str, Pixels]] = {"contents": {}, "styles": {}}
        for kind, pictures in sized.items():
            (self.folder / kind).mkdir()
            for path in getattr(self.options, kind):
                pixels = load_float(path)
                size = fit_size((pixels.shape[1], pixels.shape[0]), self.options.size)
                # From files of this size neither program has to resize anything.
                write_image(self.folder / kind / f"{path.stem}.png", resize(pixels, size))
                pictures[path.stem] = load_float(self.folder / kind / f"{path.stem}.png")
        for content, pixels in sized["contents"].items():
            for style, painted in sized["styles"].items():
                loss = PeerLoss(self.judge, pixels, painted)
                files = (f"contents/{content}.png", f"styles/{style}.png")
                reference = self._reference(pixels, painted)
                pair = Pair((content, style), files, (pixels, painted), loss, reference)
                self.pairs.append(pair)

    def _reference(self, content: Pixels, style: Pixels) -> MetricTargets:
        content, style = (
            resize(image, fit_size((image.shape[1], image.shape[0]), self.options.judge_size))
            for image in (content, style)
        )
        return MetricTargets.of(self.judge, content, [StyleImage(style, 1.0)])

    def settings(self, grid: str) -> dict[str, Any]:
        """What the whole of one of ``GRIDS`` has in common, as in a configuration."""
        encoder, options = GRIDS[grid], self.options
        schedule = options.longer if grid == "compact_longer" else options.schedule
        shares = [pair.loss.relative(1.0)[1] for pair in self.pairs]
        means = {
            layer: statistics.geometric_mean(share[layer] for share in shares)
            for layer in EVAL_STYLE_LAYERS
        }
        return {
            "encoder": encoder,
            "size": options.size,
            "tv_weight": options.tv_weight,
            "style_layers": {layer: round(mean, 8) for layer, mean in means.items()},
            **({"weights": str(options.weights)} if encoder == "vgg19" else {}),
            **({"iterations": schedule} if schedule else {}),
        }

    def our_weight(self, style_weight: float) -> float:
        """The relative style weight for one of neural-style's: the mean over the pairs."""
        found = [pair.loss.relative(style_weight)[0] for pair in self.pairs]
        return round(statistics.geometric_mean(found), 6)

    def keep(self, picture: Path, name: str) -> None:
        """Copy a picture to where somebody wants to see it."""
        if self.options.pictures is not None:
            self.options.pictures.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(picture, self.options.pictures / name)


def run_peer(bench: Bench, pair: Pair, style_weight: float, iterations: int) -> dict[str, Any]:
    """One picture by neural-style."""
    options = bench.options
    picture = Picture(*pair.files, style_weight, options.size, iterations, "peer.png")
    words = command(options.peer_python, picture, options.device)
    cost = timed_process(words, folder=bench.folder, environment={"PYTHONPATH": ""})
    made = bench.folder / picture.output
    bench.keep(made, f"{'_'.join(pair.name)}_neural-style_{style_weight:g}_{iterations}.png")
    return {
        "pair": list(pair.name),
        "style_weight": style_weight,
        "iterations": iterations,
        "printed_loss": printed_loss(cost.output),
        **_figures(cost),
        **pair.judge(bench.judge, load_float(made), style_weight),
    }


def run_crowson(bench: Bench, pair: Pair) -> dict[str, Any]:
    """One picture by style-transfer-pytorch, on its defaults."""
    options = bench.options
    words = _crowson.command(options.peer_python, pair.files, options.size, options.device)
    surroundings = {"PYTHONPATH": str(options.crowson), "TORCH_HOME": str(bench.folder / "torch")}
    cost = timed_process(words, folder=bench.folder, environment=surroundings)
    made = bench.folder / _crowson.OUTPUT
    bench.keep(made, f"{'_'.join(pair.name)}_style-transfer-pytorch.png")
    judged = pair.judge(bench.judge, load_float(made), 0.0)
    return {"pair": list(pair.name), **_figures(cost), **{key: judged[key] for key in EVAL_LAYERS}}


def run_grid(bench: Bench, grid: str, number: int) -> dict[str, Any]:
    """One of ``GRIDS`` by ``nst run``, into a folder where nothing is known yet."""
    options = bench.options
    weights = {bench.our_weight(weight): weight for weight in options.style_weights}
    config = {
        "run": grid,
        "results": f"results{number}",
        "contents": {pair.name[0]: pair.files[0] for pair in bench.pairs},
        "styles": {pair.name[1]: pair.files[1] for pair in bench.pairs},
        "settings": bench.settings(grid),
        "sweep": {"axes": {"style_weight": list(weights)}},
        "device": options.device,
    }
    file = bench.folder / f"{grid}{number}.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    words = [*NST, "run", file.name, "--cores", str(options.threads)]
    cost = timed_process(words, folder=bench.folder)
    by_name = {pair.name: pair for pair in bench.pairs}
    cells = []
    for path in sorted((bench.folder / f"results{number}" / grid / "cells").rglob("*.json")):
        record = json.loads(path.read_text("utf-8"))
        pair = by_name[record["cell"]["content"], record["cell"]["style"]]
        style_weight = weights[record["cell"]["axes"]["style_weight"]]
        made = path.with_name(record["image"]["file"])
        level = record["optimization"]["levels"][-1]
        cell = {
            "pair": list(pair.name),
            "style_weight": style_weight,
            "seconds": record["optimization"]["seconds"],
            "seconds_per_iteration": level["seconds"] / level["iterations"],
        }
        cells.append({**cell, **pair.judge(bench.judge, load_float(made), style_weight)})
        bench.keep(made, f"{'_'.join(pair.name)}_{grid}_{style_weight:g}.png")
    return {"grid": grid, **_figures(cost), "cells": cells}


def _figures(cost: Cost) -> dict[str, float]:
    return {
        "wall_seconds": cost.seconds,
        "largest_mb": cost.largest_mb,
        "together_mb": cost.together_mb,
    }


def shortest(
    reached: Callable[[float], bool], start: float, most: float, tolerance: float = TOLERANCE
) -> float | None:
    """The least length that reaches something, by doubling and bisection.

    Args:
        reached: whether a length does; a greater one than one that does is taken to do as well.
        start: the first that is tried.
        most: the greatest that is tried.
        tolerance: how much longer than the least the answer may be, as a share.

    Returns:
        A length for which ``reached`` was true, or None.
    """
    failed, length = 0.0, min(start, most)
    while not reached(length):
        if length >= most:
            return None
        failed, length = length, min(2 * length, most)
    while length > failed * (1 + tolerance) and length - failed > start / 2:
        middle = (failed * length) ** 0.5 if failed else length / 2
        if reached(middle):
            length = middle
        else:
            failed = middle
    return length


def reach(bench: Bench, encoder: str, pair: Pair, peer: dict[str, Any]) -> dict[str, Any]:
    """The shortest descent to the loss of neural-style's finished picture."""
    options = bench.options
    style_weight = peer["style_weight"]
    weight, layers = pair.loss.relative(style_weight)
    base = Settings(
        **{
            **bench.settings(encoder),
            "style_weight": weight,
            "style_layers": layers,
            "weights": None,
        }
    )
    network = make_encoder(encoder, options.weights, VGG19.deepest(base.layers), options.device)
    moments = [
        image_moments(network, pair.pixels[1], base.style_size(size), list(layers), options.device)
        for size in base.level_sizes()
    ]
    plan = base.level_iterations()
    tried: dict[tuple[int, ...], tuple[float, float]] = {}

    def scaled(length: float) -> tuple[int, ...]:
        """All levels' iterations for so many at the full size."""
        return tuple(max(1, round(count * length / plan[-1])) for count in plan)

    def reached(length: float) -> bool:
        counts = scaled(length)
        if counts not in tried:
            settings = base.model_copy(update={"iterations": list(counts)})
            task = StylizeTask(pair.pixels[0], moments, settings)
            result = stylize(network, [task], device=options.device)[0]
            # As it would be saved: the peer's picture was judged from its file, too.
            picture = (np.round(result.image * 255) / 255).astype(np.float32)
            seconds = sum(level.seconds for level in result.levels)
            tried[counts] = seconds, pair.loss.total(picture, style_weight)
        return tried[counts][1] <= float(peer["peer_loss"])

    length = shortest(reached, 2.0, LONGEST * options.iterations)
    found: dict[str, Any] = {
        "encoder": encoder,
        "pair": list(pair.name),
        "style_weight": style_weight,
        "peer_loss": peer["peer_loss"],
        "tried": [
            {"iterations": list(counts), "seconds": seconds, "loss": loss}
            for counts, (seconds, loss) in sorted(tried.items())
        ],
    }
    if length is None:
        return {**found, "reached": False, "lowest": min(loss for _, loss in tried.values())}
    counts = scaled(length)
    spelt = ", ".join(f"{layer}: {share:.10f}" for layer, share in layers.items())
    given = {
        **{key: value for key, value in bench.settings(encoder).items() if key != "style_layers"},
        "style_weight": f"{weight:.10f}",
        "style_layers": f"{{{spelt}}}",
        "iterations": list(counts),
    }
    words = [*NST, "stylize", *pair.files, "-o", "reached.png", "--force"]
    words += ["--device", options.device]
    for key, value in given.items():
        words += ["--set", f"{key}={value}"]
    cost = timed_process(words, folder=bench.folder)
    record = read_record(bench.folder / "reached.png") or {}
    loss = pair.loss.total(load_float(bench.folder / "reached.png"), style_weight)
    return {
        **found,
        "reached": True,
        "iterations": list(counts),
        "seconds": tried[counts][0],
        "loss": tried[counts][1],
        "process": {
            "loss": loss,
            "optimization_seconds": record["optimization"]["seconds"],
            **_figures(cost),
        },
    }
