"""The stages before optimization: prepared pictures, style targets, the grid."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from nstcore.config.settings import Settings
from nstcore.encoders.layers import JUDGE_HELD_OUT, JUDGE_STYLE
from nstcore.errors import StoreError
from nstcore.grid import paths
from nstcore.grid.plan import Cell, Plan
from nstcore.grid.refine import refined_settings
from nstcore.images import decode, load_float, prepare
from nstcore.store.atomic import write_json, write_text
from nstcore.store.cells import Store, link
from nstcore.store.digests import cell_key, style_identity, target_key

log = logging.getLogger(__name__)

NATIVE = 1 << 30
"""A size that no picture has: with ``upscale=False`` it means "as large as it is"."""


def prepare_content(plan: Plan, content: str, sizes: Sequence[int] | None = None) -> None:
    """Write a content at some sizes, those of the grid if none are given, with its facts beside it."""
    for size in plan.sizes if sizes is None else sizes:
        destination = _in_run(plan, paths.CONTENT, content=content, size=size)
        facts = prepare(
            Path(plan.contents[content].path), destination, size, background=plan.config.background
        )
        write_json(destination.with_suffix(".json"), facts)
        log.info("content %s: %d x %d px", content, facts["width"], facts["height"])


def prepare_style(plan: Plan, style: str, index: int) -> None:
    """Write one picture of a style at its own size, with its facts beside it."""
    source = plan.styles[style].paths[index]
    destination = _in_run(plan, paths.STYLE, style=style, index=index)
    facts = prepare(
        Path(source), destination, NATIVE, background=plan.config.background, upscale=False
    )
    write_json(destination.with_suffix(".json"), facts)
    log.info("style %s: %s, %d x %d px", style, source, facts["width"], facts["height"])


def prepare_encoder(plan: Plan, encoder: str) -> None:
    """Bring the weights of one of the run's encoders into its folder."""
    from nstcore.encoders.weights import fetch

    name, weights = {**encoders(plan), **refined_encoders(plan)}[encoder]
    destination = _in_run(plan, paths.ENCODER, encoder=encoder)
    fetch(name, weights, destination, destination.with_suffix(".json"))


def encoders(plan: Plan) -> dict[str, tuple[str, str | None]]:
    """Encoder id -> name and weights file, of everything the run optimizes or judges with."""
    found: dict[str, tuple[str, str | None]] = {
        paths.encoder_id(s.encoder, s.weights): (s.encoder, s.weights) for s in plan.settings
    }
    judge = plan.evaluation
    found[paths.encoder_id(judge["encoder"], judge["weights"])] = (
        judge["encoder"],
        judge["weights"],
    )
    return found


def refined_encoders(plan: Plan) -> dict[str, tuple[str, str | None]]:
    """The same of what refined cells need beyond that."""
    found = {
        paths.encoder_id(s.encoder, s.weights): (s.encoder, s.weights)
        for s in refined_settings(plan)
    }
    return {name: value for name, value in found.items() if name not in encoders(plan)}


def judge_settings(plan: Plan) -> Settings:
    """Settings of the encoder that judges: it pools and pads as it was trained."""
    judge = plan.evaluation
    return Settings(encoder=judge["encoder"], weights=judge["weights"], size=judge["size"])


Requests = dict[str, tuple[Settings, tuple[str, ...], int]]
"""Target id -> settings of the encoder, layers and long side."""


def requests_of(settings: Settings) -> Requests:
    """The target of every level of one picture."""
    layers = style_layers(settings)
    return {
        paths.target_id(settings, layers, size): (settings, layers, size)
        for size in style_sizes(settings)
    }


def refined_requests(plan: Plan) -> Requests:
    """Every target that a style needs for refined cells alone."""
    found: Requests = {}
    for settings in refined_settings(plan):
        found |= requests_of(settings)
    return {name: one for name, one in found.items() if name not in target_requests(plan)}


def target_requests(plan: Plan) -> Requests:
    """Every target that a style needs for the grid and its measurement."""
    found: Requests = {}
    for settings in plan.settings:
        for name, request in requests_of(settings).items():
            found.setdefault(name, request)
    judge = judge_settings(plan)
    found.setdefault(judge_target(plan), (judge, (*JUDGE_STYLE, *JUDGE_HELD_OUT), judge.size))
    return found


def judge_target(plan: Plan) -> str:
    """Id of the target that every finished picture of a style is measured against."""
    judge = judge_settings(plan)
    return paths.target_id(judge, (*JUDGE_STYLE, *JUDGE_HELD_OUT), judge.size)


def style_layers(settings: Settings) -> tuple[str, ...]:
    """The layers whose style loss counts."""
    return tuple(layer for layer, weight in settings.style_layers.items() if weight > 0)


def style_sizes(settings: Settings) -> list[int]:
    """Long side at which the style is seen at every level, coarse to fine."""
    return [settings.style_size(size) for size in settings.level_sizes()]


def make_targets(
    plan: Plan, style: str, *, threads: int | None = None, requests: Requests | None = None
) -> None:
    """Write style targets of a style; what the store has is not computed again.

    Args:
        plan: the run.
        style: whose.
        threads: how many the job was granted; None for all.
        requests: which targets; None for those of the grid.
    """
    store = Store(plan.config.store_dir)
    source = plan.styles[style]
    facts = [
        _facts(plan, paths.STYLE_FACTS, style=style, index=i) for i in range(len(source.paths))
    ]
    wanted = target_requests(plan) if requests is None else requests
    for name, (settings, layers, size) in wanted.items():
        destination = _in_run(plan, paths.TARGET, style=style, target=name)
        eye = encoder_facts(plan, settings)
        keys = [
            target_key(
                fact["digest"], size, eye["sha256"], settings.pooling, settings.padding, layers
            )
            for fact in facts
        ]
        files = [store.path("targets", key, ".safetensors") for key in keys]
        for index, file in enumerate(files):
            if not file.is_file():
                _compute_target(
                    plan, style, index, settings, layers, size, file, facts[index], eye, threads
                )
        if len(files) == 1:
            link(files[0], destination)
        else:
            _write_blend(destination, files, source.weights, style)


def _compute_target(
    plan: Plan,
    style: str,
    index: int,
    settings: Settings,
    layers: tuple[str, ...],
    size: int,
    file: Path,
    picture: dict[str, Any],
    eye: dict[str, Any],
    threads: int | None,
) -> None:
    from nstcore.run.engine import style_target

    facts = {
        "picture": picture,
        "size": size,
        "encoder": eye,
        "pooling": settings.pooling,
        "padding": settings.padding,
        "layers": list(layers),
    }
    weights = encoder_file(plan, settings)
    pixels = load_float(_in_run(plan, paths.STYLE, style=style, index=index))
    device, deterministic = plan.config.device, plan.config.deterministic
    style_target(
        file, pixels, size, settings, layers, weights, facts, device, threads, deterministic
    )
    log.info("style %s at %d px: %s", style, size, ", ".join(layers))


def _write_blend(
    destination: Path, files: list[Path], weights: tuple[float, ...], style: str
) -> None:
    from nstcore.targets import blend, load_moments, save_moments

    loaded = [load_moments(file) for file in files]
    moments = blend([moments for moments, _ in loaded], weights)
    parts = [{"weight": w, **facts} for w, (_, facts) in zip(weights, loaded, strict=True)]
    save_moments(destination, moments, {"blend": parts})
    log.info("style %s: blend of %d pictures", style, len(files))


def encoder_file(plan: Plan, settings: Settings) -> Path:
    """The run's weights file of the encoder that some settings ask for."""
    eye = paths.encoder_id(settings.encoder, settings.weights)
    return _in_run(plan, paths.ENCODER, encoder=eye)


def encoder_facts(plan: Plan, settings: Settings) -> dict[str, Any]:
    """Name, source and sha256 of the encoder that some settings ask for."""
    eye = paths.encoder_id(settings.encoder, settings.weights)
    return _facts(plan, paths.ENCODER_FACTS, encoder=eye)


def content_facts(plan: Plan, content: str, size: int) -> dict[str, Any]:
    """What is known of a prepared content: source path, digest, width, height."""
    return _facts(plan, paths.CONTENT_FACTS, content=content, size=size)


def style_facts(plan: Plan, style: str) -> list[dict[str, Any]]:
    """What is known of a style's prepared pictures: source path, digest, width, height, weight."""
    source = plan.styles[style]
    return [
        {**_facts(plan, paths.STYLE_FACTS, style=style, index=i), "weight": weight}
        for i, weight in enumerate(source.weights)
    ]


def start_digest(settings: Settings, background: str) -> str | None:
    """Digest of the picture that ``init: file`` starts from."""
    if settings.init_file is None:
        return None
    path = Path(settings.init_file)
    return _decoded_digest(path, path.stat().st_mtime_ns, background)


@lru_cache
def _decoded_digest(path: Path, modified: int, background: str) -> str:
    """Digest of a picture, decoded once for all cells that start from one version of it."""
    return decode(path, background=background).digest


def key_of(plan: Plan, cell: Cell) -> str:
    """The key of a cell whose inputs are prepared."""
    settings = cell.settings
    styles = style_facts(plan, cell.style)
    return cell_key(
        settings,
        seed=cell.point.seed,
        content=content_facts(plan, cell.content, settings.size)["digest"],
        style=style_identity([s["digest"] for s in styles], [s["weight"] for s in styles]),
        encoder=encoder_facts(plan, settings)["sha256"],
        output=plan.config.output,
        start=start_digest(settings, plan.config.background),
    )


def write_grid(plan: Plan, path: Path, cells: Iterable[Cell] | None = None) -> None:
    """Write ``grid.tsv``: one row a cell, with its key, its batch and its picture's path.

    Args:
        plan: the run.
        path: of the table.
        cells: which; None for those of the grid.
    """
    axes = list(plan.axis_values)
    order = [
        "style",
        "content",
        "setting",
        "seed",
        *(a for a in axes if a in plan.config.sweep.axes),
    ]
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow([*order, "key", "batch", "image"])
    written = list(plan.cells() if cells is None else cells)
    for cell in written:
        values = {**cell.axes, "setting": cell.point.name}
        row = [_plain(values[name]) for name in order]
        writer.writerow([*row, key_of(plan, cell), cell.batch, cell.image])
    write_text(path, text.getvalue())
    log.info("%d cells", len(written))


def _plain(value: Any) -> str:
    """A value as text: numbers and strings as they are, structures as JSON."""
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value)
    if value is None or isinstance(value, bool):
        return "none" if value is None else str(value).lower()
    return str(value)


def _in_run(plan: Plan, pattern: str, **parts: Any) -> Path:
    return Path(plan.config.run_dir) / pattern.format(**parts)


_read: dict[tuple[str, int], dict[str, Any]] = {}


def _facts(plan: Plan, pattern: str, **parts: Any) -> dict[str, Any]:
    """A facts file of the run, read once for each version of it."""
    path = _in_run(plan, pattern, **parts)
    try:
        version = (str(path), path.stat().st_mtime_ns)
        if version not in _read:
            _read[version] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); delete it and run again") from None
    return _read[version]
