"""Style targets: the statistics of a style at one size under one encoder, computed once and stored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
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
from nstcore.plan.record import EncoderInput, StyleInput
from nstcore.store.cells import Store, link
from nstcore.store.files import digest

if TYPE_CHECKING:
    from nstcore.jobs.engine import Engine

log = logging.getLogger(__name__)

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class TargetImage:
    """One image of a style whose statistics are a target, perhaps with the colors of a content."""

    part: StyleInput
    digest: str
    load: Callable[[], Pixels]
    load_regions: Callable[[], Regions | None]
    colors: Mapping[str, str] = field(default_factory=dict)

    @property
    def metadata(self) -> dict[str, Any]:
        """What its target tells of it."""
        of_style = {"weight", "region", "guide"}
        own = {name: v for name, v in self.part.to_json().items() if name not in of_style}
        return {**own, "digest": self.digest, **self.colors}


def make_targets(
    plan: Plan,
    style: str,
    *,
    targets: Iterable[str] | None = None,
    threads: int | None = None,
) -> None:
    """Write style targets of a style into the run; what the store has is not computed again.

    Args:
        plan: the run.
        style: whose.
        targets: ids of those that are wanted; None for those of the grid.
        threads: how many the job was granted; None for all.
    """
    inputs = RunInputs(plan)
    computing = _Targets(Store(plan.config.store_dir), cache(lambda: _engine(plan, threads)))
    images = [
        TargetImage(
            part,
            part.digest,
            partial(load_float, inputs.file(paths.STYLE, style=style, index=index)),
            partial(_regions, part, inputs.file(paths.STYLE_GUIDE, style=style, index=index)),
        )
        for index, part in enumerate(inputs.style(style))
    ]
    known = {**plan.targets, **plan.refined_targets}
    for name in plan.targets if targets is None else targets:
        request = known[name]
        encoder = inputs.encoder(request[0])
        encoder_id = paths.encoder_id(request[0].encoder, request[0].weights)
        weights = inputs.file(paths.ENCODER, encoder=encoder_id)
        found = computing.of(images, request, encoder, weights, style)
        link(found, inputs.file(paths.TARGET, style=style, target=name))


def cell_targets(
    inputs: CellInputs,
    images: InputCache,
    store: Store,
    engine: Callable[[], Engine],
    *,
    targets: Iterable[paths.Target] | None = None,
) -> list[Path]:
    """Files of the store with targets of a cell's style.

    What no job has computed before is computed here, and kept for the next that needs the same.

    Args:
        inputs, images: of the cell.
        store: where targets are kept.
        engine: gives what computes them.
        targets: None for those of every level, from coarse to fine.
    """
    if targets is None:
        targets = paths.level_targets(inputs.settings)
    parts = [_cell_image(inputs, index, images) for index in range(len(inputs.style))]
    encoder, weights, computing = inputs.encoder, images.weights(inputs), _Targets(store, engine)
    return [computing.of(parts, one, encoder, weights, inputs.style_id) for one in targets]


def _cell_image(inputs: CellInputs, index: int, images: InputCache) -> TargetImage:
    """An image of a cell's style, with the colors of its content where they are asked for."""
    settings, content, part = inputs.settings, inputs.content, inputs.style[index]
    digest, colors = part.digest, {}
    if settings.color != "style":
        digest = colored_style_digest(settings, part.digest, content.digest, content.alpha)
        colors = {"color": settings.color, "content": content.digest}
    return TargetImage(
        part,
        digest,
        partial(images.color_style, inputs, index),
        partial(images.style_regions, inputs, index),
        colors,
    )


@dataclass(frozen=True)
class _Targets:
    """The targets of styles and of their images: in the store, or computed."""

    store: Store
    engine: Callable[[], Engine]

    def of(
        self,
        images: Sequence[TargetImage],
        request: paths.Target,
        encoder: EncoderInput,
        weights: Path,
        style: str,
    ) -> Path:
        """The target of a style: of its only image, or a blend, or one for each region."""
        if images[0].part.region is None:
            # In the order of digests a blend does not depend on the order of its images.
            images = sorted(images, key=lambda image: image.part.digest)
        files = [self._of_image(image, request, encoder, weights) for image in images]
        keys, shares = [file.stem for file in files], [image.part.weight for image in images]
        identity: dict[str, Any] = {"blend": style_identity(keys, shares)}
        regions = [image.part.region for image in images if image.part.region is not None]
        if regions:
            identity = {"regions": sorted(zip(regions, keys, shares, strict=True))}
        elif len(images) == 1:
            return files[0]
        found = self._stored(digest(identity))
        if not found.is_file():
            write_combined(found, files, shares, regions, style)
        return found

    def _stored(self, key: str) -> Path:
        return self.store.path("targets", key, SUFFIX)

    def _of_image(
        self, image: TargetImage, request: paths.Target, encoder: EncoderInput, weights: Path
    ) -> Path:
        settings, layers, size = request
        guide = None if image.part.guide is None else image.part.guide.digest
        file = self._stored(target_key(image.digest, size, encoder.sha256, settings, layers, guide))
        if not file.is_file():
            metadata = _metadata(image, request, encoder)
            self.engine().style_target(
                file, image.load(), size, settings, layers, weights, metadata, image.load_regions()
            )
            label = paths.size_label(settings, size)
            log.info("%s at %s px: %s", image.part.path, label, ", ".join(layers))
        return file


def _engine(plan: Plan, threads: int | None) -> Engine:
    from nstcore.jobs.engine import Engine

    config = plan.config
    return Engine(config.device, threads, deterministic=config.deterministic)


def _regions(part: StyleInput, file: Path) -> Regions | None:
    return None if part.guide is None else load_regions(file)


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
    if image.part.guide is not None:
        values |= {
            "guide": image.part.guide.to_json(),
            "propagation": settings.guide_propagation,
        }
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
