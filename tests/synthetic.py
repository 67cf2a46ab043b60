"""A run folder as the workflow leaves it, written in milliseconds and without any network."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
SHAPES = ((64, 48), (48, 64), (60, 60), (80, 40))
OUT_OF_MEMORY = "out of memory on cuda:0 although the batch was halved to one picture and tiled"
SHORT_HISTORY = "history 5 in place of 10, for want of memory"


def painting(seed: int, size: tuple[int, int]) -> Image.Image:
    """A small picture of coloured waves, different for every seed."""
    random = np.random.default_rng(seed)
    width, height = size
    y, x = np.mgrid[0:height, 0:width] / max(size)
    waves = [
        0.5
        + 0.35
        * np.sin(x * random.uniform(3, 14) + y * random.uniform(3, 14) + random.uniform(0, 6))
        for _ in range(3)
    ]
    return Image.fromarray((np.stack(waves, axis=-1).clip(0, 1) * 255).astype(np.uint8))


def write_run(
    root: Path,
    *,
    run: str = "demo",
    styles: Sequence[str] = ("night", "wave"),
    contents: Sequence[str] = ("cat", "rocket"),
    axes: Mapping[str, Sequence[Any]] | None = None,
    seeds: Sequence[int] = (0,),
    failed: Sequence[int] = (),
    diverged: Sequence[int] = (),
    degraded: Sequence[int] = (),
    pictures: Mapping[str, Image.Image] | None = None,
    iterations: int = 12,
    report: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``<root>/<run>`` and return it.

    Args:
        root: the results folder.
        run: the run's name.
        styles: ids of the styles.
        contents: ids of the contents.
        axes: setting name to values; the default sweeps three style weights.
        seeds: the seeds.
        failed: indices, in grid order, of the cells that failed.
        diverged: indices of the cells that diverged and kept their last good picture.
        degraded: indices of the cells that were made with less history than their settings say.
        pictures: source pictures by id, where the made-up waves will not do.
        iterations: length of every trace.
        report: the ``report`` section of the frozen configuration.
    """
    folder = root / run
    axes = {"style_weight": [1.0, 10.0, 100.0]} if axes is None else axes
    pictures = dict(pictures or {})
    for number, name in enumerate((*contents, *styles)):
        pictures.setdefault(name, painting(number, SHAPES[number % len(SHAPES)]))
    for kind, names in (("contents", contents), ("styles", styles)):
        for name in names:
            number = max(pictures[name].size) if kind == "contents" else 0
            path = folder / "inputs" / kind / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pictures[name].save(path)
    rows = []
    points = itertools.product(styles, contents, itertools.product(*axes.values()), seeds)
    for index, (style, content, values, seed) in enumerate(points):
        point = dict(zip(axes, values, strict=True))
        setting = ",".join(f"{k}={_plain(v)}" for k, v in point.items()) or "default"
        setting = re.sub(r"[^A-Za-z0-9._=,+-]+", "-", setting)
        file = f"{setting},seed={seed}.png" if len(seeds) > 1 else f"{setting}.png"
        image = f"cells/{style}/{content}/{file}"
        cell = {"style": style, "content": content, "setting": setting, "axes": point, "seed": seed}
        key = hashlib.sha256(json.dumps(cell, sort_keys=True).encode()).hexdigest()
        status = "failed" if index in failed else "diverged" if index in diverged else "ok"
        strength = (index % max(1, math.prod(len(v) for v in axes.values()))) + 1
        picture = Image.blend(
            pictures[content].convert("RGB"),
            pictures[style].convert("RGB").resize(pictures[content].size),
            min(0.85, 0.25 * strength),
        )
        record = _record(run, cell, key, status, picture, file, strength, iterations)
        if index in degraded:
            record["optimization"]["degraded"] = SHORT_HISTORY
        path = folder / image
        path.parent.mkdir(parents=True, exist_ok=True)
        (Image.new("RGB", (8, 8), "#888888") if status == "failed" else picture).save(path)
        path.with_suffix(".json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        log = folder / "logs" / "stylize" / style / content / "batch.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file_:
            level = "INFO" if status == "ok" else "ERROR"
            file_.write(f"2026-01-01 00:00:00,000 {level} nstcore.jobs.stylize: {status} {image}\n")
        plain = {name: _plain(value) for name, value in point.items()}
        row = {"style": style, "content": content, "setting": setting, "seed": seed, **plain}
        rows.append({**row, "key": key, "batch": f"{style}/{content}", "image": image})
    with (folder / "grid.tsv").open("w", encoding="utf-8", newline="") as file_:
        writer = csv.DictWriter(file_, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    config = {
        "run": run,
        "contents": {name: f"data/{name}.jpg" for name in contents},
        "styles": {name: f"data/{name}.jpg" for name in styles},
        "sweep": {"axes": {name: list(values) for name, values in axes.items()}},
        "seeds": list(seeds),
        "settings": {"size": 512, "encoder": "vgg19", "optimizer": "lbfgs"},
        "report": dict(report or {"rows": ["content"], "cols": ["style", *axes]}),
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return folder


def sources_of(run: Path) -> dict[str, dict[str, list[Path]]]:
    """The prepared images of a run, as `write_run` leaves them: axis, then id."""
    return {
        axis: {
            folder.name: images
            for folder in sorted((run / "inputs" / f"{axis}s").glob("*/"))
            if (images := sorted(folder.glob("*.png")))
        }
        for axis in ("style", "content")
    }


def _plain(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _record(
    run: str,
    cell: dict[str, Any],
    key: str,
    status: str,
    picture: Image.Image,
    file: str,
    strength: int,
    iterations: int,
) -> dict[str, Any]:
    width, height = picture.size
    steps = list(range(1, iterations + 1))
    content = [0.1 * strength * (1 - math.exp(-step / 5)) for step in steps]
    style = [2.0 / strength * math.exp(-step / 6) + 0.01 for step in steps]
    metrics = {"content_loss": content[-1], "style_loss": style[-1]}
    metrics |= {f"style_loss_{layer}": style[-1] / (n + 1) for n, layer in enumerate(LAYERS)}
    metrics |= {"tv": 0.02 * strength, "ssim": 0.9 / strength, "color_distance": 4.0 / strength}
    trace = {
        "iteration": steps,
        "level": [0 if step <= iterations // 2 else 1 for step in steps],
        "total_loss": [c + s for c, s in zip(content, style, strict=True)],
        "content_loss": content,
        "style_loss": style,
        "tv_loss": [0.001] * iterations,
    }
    record: dict[str, Any] = {
        "schema": 1,
        "algorithm": 1,
        "key": key,
        "status": status,
        "reason": {"ok": None, "failed": OUT_OF_MEMORY, "diverged": "the loss exploded 3 times"}[
            status
        ],
        "run": run,
        "cell": cell,
        "settings": {"size": 512, "encoder": "vgg19", "optimizer": "lbfgs", **cell["axes"]},
        "inputs": {
            "content": {"path": f"data/{cell['content']}.jpg", "digest": "c" * 64},
            "style": [{"path": f"data/{cell['style']}.jpg", "digest": "5" * 64, "weight": 1.0}],
            "encoder": {"name": "vgg19", "sha256": "e" * 64, "source": "weights/vgg19.pth"},
        },
        "image": {
            "file": file,
            "sha256": hashlib.sha256(key.encode()).hexdigest(),
            "width": width,
            "height": height,
            "bits": 8,
        },
        "optimization": {
            "device": "cpu",
            "iterations": iterations,
            "seconds": 1.5 * strength,
            "peak_memory_mb": 640.0,
            "batch_size": 3,
            "levels": [],
        },
        "metrics": metrics,
        "evaluation": {"encoder": "vgg19", "sha256": "e" * 64, "size": 256},
        "trace": trace,
        "versions": {"nstcore": "0.1.0", "torch": "2.15.0", "python": "3.11.4"},
        "created": "2026-01-01T00:00:00+00:00",
    }
    if status == "failed":
        record |= {"image": None, "metrics": {}}
        del record["trace"]
    return record
