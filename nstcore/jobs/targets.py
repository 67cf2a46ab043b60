"""Style targets: the statistics of a style at one size under one encoder, computed once and stored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nstcore.core.color_modes import colored_style_digest
from nstcore.images import load_float
from nstcore.images.masks import Regions, load_regions
from nstcore.jobs.cell_inputs import CellInputs, RunInputs
from nstcore.jobs.input_cache import InputCache, Pixels
from nstcore.plan import paths
from nstcore.plan.keys import style_identity, target_key
from nstcore.plan.plan import Plan
from nstcore.plan.record import EncoderInput, Guide
from nstcore.store.cells import Store, link
from nstcore.store.files import digest

if TYPE_CHECKING:
    from nstcore.jobs.engine import Engine

log = logging.getLogger(__name__)

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class TargetImage:
    """One image whose statistics are a target, which tells its ``metadata``."""

    digest: str
    metadata: Mapping[str, Any]
    guide: Guide | None
    load: Callable[[], Pixels]
    load_regions: Callable[[], Regions | None]


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
    source, inputs = plan.styles[style], RunInputs(plan)
    computing = _Targets(Store(plan.config.store_dir), cache(lambda: _engine(plan, threads)))
    images = [_target_image(inputs, style, index) for index in range(len(source.paths))]
    wanted = plan.targets
    if targets is not None:
        known = {**wanted, **plan.refined_targets}
        wanted = {name: known[name] for name in targets}
    for name, request in wanted.items():
        settings = request[0]
        encoder = inputs.encoder(settings)
        encoder_id = paths.encoder_id(settings.encoder, settings.weights)
        weights = inputs.file(paths.ENCODER, encoder=encoder_id)
        keys = [computing.key(image, request, encoder, weights) for image in images]
        files = [computing.stored(key) for key in keys]
        destination = inputs.file(paths.TARGET, style=style, target=name)
        if len(files) > 1 or source.regions:
            write_combined(destination, files, source.weights, source.regions, style)
        else:
            link(files[0], destination)


def cell_targets(
    inputs: CellInputs, images: InputCache, store: Store, engine: Callable[[], Engine]
) -> list[Path]:
    """Files with the targets of a cell's style, for every level from coarse to fine.

    Where the style's colors depend on the content they are computed here, and kept in the store for
    the next job that needs the same.
    """
    settings = inputs.settings
    levels = paths.level_targets(settings)
    if settings.color == "style":
        ids = [paths.target_id(*target) for target in levels]
        return [inputs.file(paths.TARGET, target=target) for target in ids]
    computing = _Targets(store, engine)
    return [_recolored_target(inputs, target, images, computing) for target in levels]


def _recolored_target(
    inputs: CellInputs,
    request: paths.Target,
    images: InputCache,
    computing: _Targets,
) -> Path:
    """The target of a style with the colors of one content, at one size."""
    weights = images.weights(inputs)
    keys = {
        index: computing.key(
            _recolored_image(inputs, index, images), request, inputs.encoder, weights
        )
        for index, _ in inputs.style_by_digest
    }
    if inputs.style[0].region is not None:
        # The order of the style is that of its regions.
        keys = dict(sorted(keys.items()))
        regions = [str(part.region) for part in inputs.style]
    elif len(keys) == 1:
        return computing.stored(keys[0])
    else:
        # In the order of digests a blend does not depend on the order of its images.
        regions = []
    shares = [inputs.style[index].weight for index in keys]
    identity: dict[str, Any] = {"blend": style_identity(list(keys.values()), shares)}
    if regions:
        identity = {"regions": sorted(zip(regions, keys.values(), shares, strict=True))}
    found = computing.stored(digest(identity))
    if not found.is_file():
        files = [computing.stored(key) for key in keys.values()]
        write_combined(found, files, shares, regions, inputs.style_id)
    return found


@dataclass(frozen=True)
class _Targets:
    """The targets of single images: in the store, or computed."""

    store: Store
    engine: Callable[[], Engine]

    def stored(self, key: str) -> Path:
        return self.store.path("targets", key, SUFFIX)

    def key(
        self,
        image: TargetImage,
        request: paths.Target,
        encoder: EncoderInput,
        weights: Path,
    ) -> str:
        """The key of a target, which is computed if the store lacks it."""
        settings, layers, size = request
        guide = None if image.guide is None else image.guide.digest
        key = target_key(image.digest, size, encoder.sha256, settings, layers, guide)
        file = self.stored(key)
        if not file.is_file():
            metadata = _metadata(image, request, encoder)
            self.engine().style_target(
                file, image.load(), size, settings, layers, weights, metadata, image.load_regions()
            )
            label = paths.size_label(settings, size)
            log.info("%s at %s px: %s", image.metadata["path"], label, ", ".join(layers))
        return key


def _engine(plan: Plan, threads: int | None) -> Engine:
    from nstcore.jobs.engine import Engine

    config = plan.config
    return Engine(config.device, threads, deterministic=config.deterministic)


def _target_image(inputs: RunInputs, style: str, index: int) -> TargetImage:
    """An image of a style in its own colors."""
    metadata = inputs.style_metadata(style, index)
    guide = inputs.style_guide(style, index)
    file = inputs.file(paths.STYLE, style=style, index=index)
    guide_file = inputs.file(paths.STYLE_GUIDE, style=style, index=index)
    return TargetImage(
        metadata["digest"],
        metadata,
        guide,
        lambda: load_float(file),
        lambda: None if guide is None else load_regions(guide_file),
    )


def _recolored_image(inputs: CellInputs, index: int, images: InputCache) -> TargetImage:
    """An image of a cell's style with the colors of the cell's content."""
    settings, part = inputs.settings, inputs.style[index]
    content = inputs.content
    colored = colored_style_digest(settings, part.digest, content.digest, content.alpha)
    own = {"digest": colored, "color": settings.color, "content": content.digest}
    return TargetImage(
        colored,
        {**part.to_json(), **own},
        part.guide,
        lambda: images.color_style(inputs, index),
        lambda: images.style_regions(inputs, index),
    )


def _metadata(image: TargetImage, request: paths.Target, encoder: EncoderInput) -> dict[str, Any]:
    """What is written into a target: of which image, at what size, under which encoder."""
    settings, layers, size = request
    values = {
        "picture": image.metadata,
        "size": size,
        "size_by": settings.size_by,
        "encoder": encoder.to_json(),
        "pooling": settings.pooling,
        "padding": settings.padding,
        "layers": list(layers),
    }
    if image.guide is not None:
        values |= {"guide": image.guide.to_json(), "propagation": settings.guide_propagation}
    return values


def write_combined(
    destination: Path,
    files: Sequence[Path],
    weights: Sequence[float],
    regions: Sequence[str],
    style: str,
) -> None:
    """Write the target of a style from those of its images: for each region, without any a blend."""
    from nstcore.core.targets import blend, load_moments, regional_target, save_moments

    loaded = [load_moments(file) for file in files]
    known = [{"weight": weight, **of} for weight, (_, of) in zip(weights, loaded, strict=True)]
    if not regions:
        save_moments(destination, blend([one for one, _ in loaded], weights), {"blend": known})
        log.info("style %s: blend of %d images", style, len(files))
        return
    parts = {}
    for region in dict.fromkeys(regions):
        chosen = [index for index, own in enumerate(regions) if own == region]
        parts[region] = blend([loaded[i][0] for i in chosen], [weights[i] for i in chosen])
    known = [{"region": region, **of} for region, of in zip(regions, known, strict=True)]
    save_moments(destination, regional_target(parts), {"regions": known})
    log.info("style %s: %d regions", style, len(parts))
