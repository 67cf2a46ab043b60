"""A run of thousands of cells without the days that it takes to make them.

Plan, inputs, grid and the first cell are made by the library as any run makes them.  The other
cells are mixtures of their content and their style with noise on them, so that no two are alike, and
their records are the first one's with their own settings, keys and figures.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from _common import picture
from numpy.typing import NDArray
from PIL import Image

from nstcore.images import load_float
from nstcore.images.saving import write_image
from nstcore.jobs.prepare import (
    prepare_content,
    prepare_encoder,
    prepare_style,
    write_grid,
)
from nstcore.jobs.stylize import stylize_batch
from nstcore.jobs.targets import make_targets
from nstcore.plan import paths
from nstcore.plan.plan import Cell, Plan
from nstcore.plan.snapshot import read_plan, write_snapshot
from nstcore.results.tables import read_grid

NOISE = 0.015
"""Standard deviation of the noise: a PNG of such a picture is as large as one of a stylized picture."""

FAILS_EVERY = 199
"""One cell of so many has failed, as in a real run of this size some will have."""


def write_big_run(
    folder: Path, *, styles: int, contents: int, settings: int, size: int, iterations: int
) -> Plan:
    """Make a run of styles × contents × settings cells in ``folder``.

    Args:
        folder: an empty one.
        styles, contents: how many pictures of each.
        settings: how many points of the grid; a multiple of 5.
        size: long side of the pictures in pixels.
        iterations: length of the loss curves.
    """
    for kind, count, first in (("photos", contents, 0), ("paintings", styles, 100)):
        for number in range(count):
            path = folder / kind / f"{kind[:-1]}-{number + 1:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            height, width = (size, size * 3 // 4) if number % 3 == 2 else (size * 3 // 4, size)
            pixels = picture(2 * height, 2 * width, seed=first + number)
            Image.fromarray((255 * pixels).astype(np.uint8)).save(path)
    config = {
        "run": "big",
        "results": str(folder / "results"),
        "contents": str(folder / "photos"),
        "styles": str(folder / "paintings"),
        "settings": {"size": size, "iterations": iterations},
        "sweep": {
            "axes": {
                "style_weight": [round(10 ** (n / 4), 3) for n in range(settings // 5)],
                "tv_weight": [0, 0.01, 0.1, 1, 10],
            }
        },
        "evaluation": {"size": 128},
        "device": "cpu",
    }
    given = folder / "config.yaml"
    given.write_text(yaml.safe_dump(config, sort_keys=False))
    plan = read_plan(given)
    frozen = write_snapshot(plan)
    for content in plan.contents:
        prepare_content(plan, content)
    for style in plan.styles:
        prepare_style(plan, style, 0)
    for encoder in plan.encoders:
        prepare_encoder(plan, encoder)
    run = Path(plan.config.run_dir)
    write_grid(plan, run / "grid.tsv")
    _write_cells(plan, run)
    # As the workflow leaves it: what is made of the cells reads the frozen plan.
    return read_plan(frozen)


def one_page(plan: Plan, path: Path) -> Path:
    """Write the plan's configuration to ``path``, but with all cells on one sheet."""
    config = yaml.safe_load((Path(plan.config.run_dir) / "config.yaml").read_text())
    config["report"] = {"rows": ["content"], "pages": []}
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def _write_cells(plan: Plan, run: Path) -> None:
    cells = list(plan.cells())
    first = cells[0]
    make_targets(plan, first.style)
    stylize_batch(plan, [first])
    record = json.loads(paths.record_path(run / first.image).read_text())
    size = paths.size_label(first.settings)
    photos = {
        content: load_float(run / paths.CONTENT.format(content=content, size=size))
        for content in plan.contents
    }
    paintings = {
        style: load_float(run / paths.STYLE.format(style=style, index=0)) for style in plan.styles
    }
    keys = {row["image"]: row["key"] for row in read_grid(run / "grid.tsv").rows}

    def write(entry: tuple[int, Cell]) -> None:
        number, cell = entry
        path = run / cell.image
        share = 0.1 + 0.8 * (7919 * number % len(cells)) / len(cells)  # a prime: neighbours differ
        pixels = _mixed(photos[cell.content], paintings[cell.style], share, number)
        _write_cell(path, pixels, _record_of(record, cell, keys[cell.image], share, number))

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, list(enumerate(cells))[1:]))


def _mixed(
    photo: NDArray[np.float32], painting: NDArray[np.float32], share: float, seed: int
) -> NDArray[np.float32]:
    height, width = photo.shape[:2]  # a style is at least as large
    noise = np.random.default_rng(seed).normal(0, NOISE, photo.shape)
    mixed = (1 - share) * photo + share * painting[:height, :width] + noise
    return np.asarray(mixed.clip(0, 1), dtype=np.float32)


def _record_of(
    template: Mapping[str, Any], cell: Cell, key: str, share: float, seed: int
) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    record = copy.deepcopy(dict(template))
    own = {"style": cell.style, "content": cell.content, "seed": cell.point.seed}
    record["key"] = key
    record["cell"] = {**own, "setting": cell.point.name, "axes": cell.point.values}
    record["settings"] = cell.settings.model_dump()
    if seed % FAILS_EVERY == FAILS_EVERY - 1:
        del record["trace"]
        reason = "out of memory on the CPU although the batch was halved to one picture and tiled"
        return record | {"status": "failed", "reason": reason, "image": None, "metrics": {}}
    factors = {"content_loss": 2 * share, "style_loss": 2 * (1 - share)}
    for values in (record["metrics"], record["trace"]):
        for name, value in values.items():
            factor = next((f for stem, f in factors.items() if name.startswith(stem)), 1.0)
            factor *= random.uniform(0.9, 1.1)
            if isinstance(value, list) and name not in ("iteration", "level"):
                values[name] = [v if v is None else v * factor for v in value]
            elif isinstance(value, float):
                values[name] = value * factor
    return record


def _write_cell(path: Path, pixels: NDArray[np.float32], record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    embedded = {name: value for name, value in record.items() if name not in ("trace", "metrics")}
    write_image(path, pixels, record=embedded)
    if record["image"] is not None:
        height, width = pixels.shape[:2]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        record["image"] |= {"file": path.name, "width": width, "height": height, "sha256": digest}
    paths.record_path(path).write_text(json.dumps(record, indent=1), encoding="utf-8")
