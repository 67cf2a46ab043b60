"""The stages before optimization: prepared pictures, style targets, the grid."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nstcore.core.settings import Settings
from nstcore.errors import ConfigError, StoreError
from nstcore.images import decode, load_float, prepare
from nstcore.images.masks import (
    Regions,
    check_proportions,
    load_regions,
    read_guide,
    save_regions,
)
from nstcore.images.saving import check_sides
from nstcore.plan import paths, preparation
from nstcore.plan.inputs import StyleSource
from nstcore.plan.keys import cell_key, guide_identity, style_identity, target_key
from nstcore.plan.paths import LabelledSizes
from nstcore.plan.plan import Cell, Plan
from nstcore.plan.record import Inputs
from nstcore.plan.regions import region_problems
from nstcore.plan.values import table_text
from nstcore.store.cells import Store, link
from nstcore.store.files import retry_io, write_json, write_text

if TYPE_CHECKING:
    from nstcore.jobs.engine import Engine

log = logging.getLogger(__name__)

STYLE_FACTS = ("path", "digest", "weight", "width", "height", "region", "guide")
"""What a record says of each image of a style, as far as it is there."""

NATIVE = 1 << 30
"""A size that no picture has: with ``upscale=False`` it means "as large as it is"."""


def prepare_content(plan: Plan, content: str, sizes: LabelledSizes | None = None) -> None:
    """Write a content at some sizes, those of the grid if none are given, with its facts beside it.

    Raises:
        ImageError: if it cannot be read, or the pictures made of it would not fit into their format.
    """
    output = plan.config.output
    for label, (size, by) in (plan.sizes if sizes is None else sizes).items():
        destination = _in_run(plan, paths.CONTENT, content=content, size=label)
        facts = prepare(
            Path(plan.contents[content].path),
            destination,
            size,
            by=by,
            background=plan.config.background,
            alpha=_in_run(plan, paths.CONTENT_ALPHA, content=content, size=label)
            if output.preserve_alpha
            else None,
        )
        check_sides(Path(f"{content}.{output.format}"), facts["width"], facts["height"])
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


def prepare_content_guide(plan: Plan, content: str, sizes: LabelledSizes | None = None) -> None:
    """Write a content's regions at some sizes, as :func:`prepare_content` its pixels.

    Raises:
        ImageError: if the guide cannot be read, or does not cover its picture.
    """
    guide = plan.contents[content].guide
    assert guide is not None
    regions = read_guide(guide)
    for label in plan.sizes if sizes is None else sizes:
        _prepare_guide(
            _in_run(plan, paths.CONTENT_GUIDE, content=content, size=label),
            guide,
            regions,
            _facts(plan, paths.CONTENT_FACTS, content=content, size=label),
        )
    log.info("content %s: regions %s", content, ", ".join(regions.names))


def prepare_style_guide(plan: Plan, style: str, index: int) -> None:
    """Write the regions of one picture of a style, at its own size; as for contents."""
    guide = plan.styles[style].guide(index)
    assert guide is not None
    regions = read_guide(guide)
    _prepare_guide(
        _in_run(plan, paths.STYLE_GUIDE, style=style, index=index),
        guide,
        regions,
        _facts(plan, paths.STYLE_FACTS, style=style, index=index),
    )
    log.info("style %s, picture %d: regions %s", style, index, ", ".join(regions.names))


def _prepare_guide(
    destination: Path, guide: str | Mapping[str, str], regions: Regions, picture: dict[str, Any]
) -> None:
    where = guide if isinstance(guide, str) else next(iter(guide.values()))
    check_proportions(regions, where, picture["source_width"], picture["source_height"])
    prepared = regions.at((picture["width"], picture["height"]))
    save_regions(destination, prepared)
    facts = {"path": guide, "digest": prepared.digest, "regions": prepared.areas}
    write_json(destination.with_suffix(".json"), facts)


def prepare_encoder(plan: Plan, encoder: str) -> None:
    """Bring the weights of one of the run's encoders into its folder."""
    from nstcore.core.encoders.weights import fetch

    name, weights = {**preparation.encoders(plan), **preparation.refined_encoders(plan)}[encoder]
    destination = _in_run(plan, paths.ENCODER, encoder=encoder)
    fetch(name, weights, destination, destination.with_suffix(".json"))


def make_targets(
    plan: Plan, style: str, *, targets: Sequence[str] | None = None, threads: int | None = None
) -> None:
    """Write style targets of a style; what the store has is not computed again.

    Args:
        plan: the run.
        style: whose.
        targets: ids of those that are wanted; None for those of the grid.
        threads: how many the job was granted; None for all.
    """
    store = Store(plan.config.store_dir)
    source = plan.styles[style]
    facts = [
        _facts(plan, paths.STYLE_FACTS, style=style, index=i) for i in range(len(source.paths))
    ]
    guides = [style_guide_facts(plan, style, i) for i in range(len(source.paths))]
    wanted = preparation.target_requests(plan)
    if targets is not None:
        known = {**wanted, **preparation.refined_requests(plan)}
        wanted = {name: known[name] for name in targets}
    engine: Engine | None = None
    for name, (settings, layers, size) in wanted.items():
        destination = _in_run(plan, paths.TARGET, style=style, target=name)
        eye = encoder_facts(plan, settings)
        keys = [
            target_key(
                fact["digest"],
                size,
                eye["sha256"],
                settings,
                layers,
                None if guide is None else guide["digest"],
            )
            for fact, guide in zip(facts, guides, strict=True)
        ]
        files = [store.path("targets", key, ".safetensors") for key in keys]
        for index, file in enumerate(files):
            if not file.is_file():
                engine = engine or _target_engine(plan, threads)
                _compute_target(
                    plan, style, index, settings, layers, size, file, facts[index], eye, engine
                )
        if source.regions:
            write_regions(destination, files, source, style)
        elif len(files) == 1:
            link(files[0], destination)
        else:
            write_blend(destination, files, source.weights, style)


def _target_engine(plan: Plan, threads: int | None) -> Engine:
    """What computes targets; it loads an encoder once for all of them."""
    from nstcore.jobs.engine import Engine

    config = plan.config
    return Engine(config.device, threads, deterministic=config.deterministic)


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
    engine: Engine,
) -> None:
    facts = target_facts(
        picture, size, settings, layers, eye, style_guide_facts(plan, style, index)
    )
    weights = encoder_file(plan, settings)
    pixels = load_float(_in_run(plan, paths.STYLE, style=style, index=index))
    regions = style_regions(plan, style, index)
    engine.style_target(file, pixels, size, settings, layers, weights, facts, regions)
    label = paths.size_label(settings, size)
    log.info("style %s at %s px: %s", style, label, ", ".join(layers))


def target_facts(
    picture: dict[str, Any],
    size: int,
    settings: Settings,
    layers: tuple[str, ...],
    eye: dict[str, Any],
    guide: dict[str, Any] | None,
) -> dict[str, Any]:
    """What is written into a style target: of which picture, at what size, seen by what."""
    return {
        "picture": picture,
        "size": size,
        "size_by": settings.size_by,
        "encoder": eye,
        "pooling": settings.pooling,
        "padding": settings.padding,
        "layers": list(layers),
        **({} if guide is None else {"guide": guide, "propagation": settings.guide_propagation}),
    }


def write_blend(
    destination: Path, files: Sequence[Path], weights: Sequence[float], style: str
) -> None:
    """Write the target of a blend from those of its pictures."""
    from nstcore.core.targets import blend, load_moments, save_moments

    loaded = [load_moments(file) for file in files]
    moments = blend([moments for moments, _ in loaded], weights)
    parts = [{"weight": w, **facts} for w, (_, facts) in zip(weights, loaded, strict=True)]
    save_moments(destination, moments, {"blend": parts})
    log.info("style %s: blend of %d pictures", style, len(files))


def write_regions(
    destination: Path, files: Sequence[Path], source: StyleSource, style: str
) -> None:
    """Write the target of a style for each region from those of its pictures, in the style's order."""
    from nstcore.core.targets import blend, load_moments, regional_target, save_moments

    loaded = [load_moments(file) for file in files]
    parts = {}
    for region in dict.fromkeys(source.regions):
        chosen = source.pictures(region)
        parts[region] = blend([loaded[i][0] for i in chosen], [source.weights[i] for i in chosen])
    facts = [
        {"region": region, "weight": weight, **of}
        for region, weight, (_, of) in zip(source.regions, source.weights, loaded, strict=True)
    ]
    save_moments(destination, regional_target(parts), {"regions": facts})
    log.info("style %s: %d regions", style, len(parts))


def encoder_file(plan: Plan, settings: Settings) -> Path:
    """The run's weights file of the encoder that some settings ask for."""
    eye = paths.encoder_id(settings.encoder, settings.weights)
    return _in_run(plan, paths.ENCODER, encoder=eye)


def encoder_facts(plan: Plan, settings: Settings) -> dict[str, Any]:
    """Name, source and sha256 of the encoder that some settings ask for."""
    eye = paths.encoder_id(settings.encoder, settings.weights)
    return _facts(plan, paths.ENCODER_FACTS, encoder=eye)


def content_facts(plan: Plan, content: str, settings: Settings) -> dict[str, Any]:
    """What is known of a content at the size of some settings: source path, digest, width, height."""
    return _facts(plan, paths.CONTENT_FACTS, content=content, size=paths.size_label(settings))


def content_alpha(plan: Plan, content: str, settings: Settings) -> str | None:
    """Digest of the transparency that pictures of a content get; None where they are opaque."""
    if not plan.config.output.preserve_alpha:
        return None
    found: str | None = content_facts(plan, content, settings)["alpha"]
    return found


def style_facts(plan: Plan, style: str) -> list[dict[str, Any]]:
    """What is known of a style's prepared pictures: source path, digest, width, height, weight.

    Where there are any, also the region that takes a picture's style, and the picture's own guide.
    """
    source = plan.styles[style]
    found = []
    for i, weight in enumerate(source.weights):
        facts = {**_facts(plan, paths.STYLE_FACTS, style=style, index=i), "weight": weight}
        if source.regions:
            facts["region"] = source.regions[i]
        guide = style_guide_facts(plan, style, i)
        if guide is not None:
            facts["guide"] = guide
        found.append(facts)
    return found


def style_guide_facts(plan: Plan, style: str, index: int) -> dict[str, Any] | None:
    """What is known of the regions of a style's picture: path, digest, areas; None without any."""
    if plan.styles[style].guide(index) is None:
        return None
    return _facts(plan, paths.STYLE_GUIDE_FACTS, style=style, index=index)


def style_regions(plan: Plan, style: str, index: int) -> Regions | None:
    """The regions of a style's picture, at its prepared size; None without any."""
    if plan.styles[style].guide(index) is None:
        return None
    return load_regions(_in_run(plan, paths.STYLE_GUIDE, style=style, index=index))


def content_guide_facts(plan: Plan, content: str, settings: Settings) -> dict[str, Any] | None:
    """What is known of a content's regions: path, digest, areas; None without any."""
    if plan.contents[content].guide is None:
        return None
    label = paths.size_label(settings)
    return _facts(plan, paths.CONTENT_GUIDE_FACTS, content=content, size=label)


def content_regions(plan: Plan, content: str, size: str) -> Regions | None:
    """The regions of a content at a size, by its label; None without any."""
    if plan.contents[content].guide is None:
        return None
    return load_regions(_in_run(plan, paths.CONTENT_GUIDE, content=content, size=size))


def identity_of_style(plan: Plan, style: str, content: str) -> list[list[Any]]:
    """What a style is to one content: its regions count where the content has some too."""
    facts = style_facts(plan, style)
    regions = None
    if plan.contents[content].guide is not None:
        regions = [(s.get("region", ""), s.get("guide", {}).get("digest", "")) for s in facts]
    return style_identity([s["digest"] for s in facts], [s["weight"] for s in facts], regions)


def check_regions(plan: Plan) -> None:
    """Make sure that contents and styles have the same regions, now that their guides are read.

    Raises:
        ConfigError: one line for every pair of a content and a style that do not go together.
    """
    settings = preparation.evaluation_settings(plan)
    contents = {
        content: tuple(facts["regions"])
        for content in plan.contents
        if (facts := content_guide_facts(plan, content, settings)) is not None
    }
    pictures = {
        (style, index): tuple(facts["regions"])
        for style, source in plan.styles.items()
        for index in range(len(source.paths))
        if (facts := style_guide_facts(plan, style, index)) is not None
    }
    problems = region_problems(plan, contents, pictures)
    if problems:
        raise ConfigError(problems)


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


def inputs_of(plan: Plan, cell: Cell) -> Inputs:
    """Everything that a cell is made from, for its record."""
    settings = cell.settings
    content = content_facts(plan, cell.content, settings)
    guide = content_guide_facts(plan, cell.content, settings)
    alpha = content_alpha(plan, cell.content, settings)
    start = start_digest(settings, plan.config.background)
    values = {
        "content": {
            **{k: content[k] for k in ("path", "digest", "width", "height")},
            **({} if guide is None else {"guide": guide}),
            **({} if alpha is None else {"alpha": alpha}),
        },
        "style": [
            {k: style[k] for k in STYLE_FACTS if k in style}
            for style in style_facts(plan, cell.style)
        ],
        "encoder": encoder_facts(plan, settings),
        **({} if start is None else {"start": {"path": settings.init_file, "digest": start}}),
        "background": plan.config.background,
    }
    return Inputs.model_validate(values)


def key_of(plan: Plan, cell: Cell) -> str:
    """The key of a cell whose inputs are prepared."""
    settings = cell.settings
    guide = content_guide_facts(plan, cell.content, settings)
    return cell_key(
        settings,
        seed=cell.point.seed,
        content=content_facts(plan, cell.content, settings)["digest"],
        style=identity_of_style(plan, cell.style, cell.content),
        encoder=encoder_facts(plan, settings)["sha256"],
        output=plan.config.output,
        start=start_digest(settings, plan.config.background),
        guide=guide_identity(
            None if guide is None else guide["digest"],
            settings.guide_propagation,
            settings.region_weights,
        ),
        alpha=content_alpha(plan, cell.content, settings),
    )


def write_grid(plan: Plan, path: Path, cells: Iterable[Cell] | None = None) -> None:
    """Write ``grid.tsv``: one row a cell, with its key, its batch and its picture's path.

    Args:
        plan: the run.
        path: of the table.
        cells: which; None for those of the grid.

    Raises:
        ConfigError: if contents and styles do not have the same regions.
    """
    check_regions(plan)
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
        row = [table_text(values[name]) for name in order]
        writer.writerow([*row, key_of(plan, cell), cell.batch, cell.image])
    write_text(path, text.getvalue())
    log.info("%d cells", len(written))


def _in_run(plan: Plan, pattern: str, **parts: Any) -> Path:
    return Path(plan.config.run_dir) / pattern.format(**parts)


_read: dict[tuple[str, int], dict[str, Any]] = {}


def _facts(plan: Plan, pattern: str, **parts: Any) -> dict[str, Any]:
    """A facts file of the run, read once for each version of it."""
    path = _in_run(plan, pattern, **parts)
    try:
        # Another node may have written it a moment ago.
        version = (str(path), retry_io(lambda: path.stat().st_mtime_ns, awaited=True))
        if version not in _read:
            text = retry_io(lambda: path.read_text(encoding="utf-8"), awaited=True)
            _read[version] = json.loads(text)
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); delete it and run again") from None
    return _read[version]
