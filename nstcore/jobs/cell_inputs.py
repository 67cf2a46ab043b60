"""A cell's pictures and style targets as its descent sees them, from the files of the run."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nstcore.core.color_modes import in_grey, seen_picture, seen_style, seen_style_digest
from nstcore.images import decode, load_float, to_float
from nstcore.images.color_transfer import LuminanceSpace
from nstcore.jobs import prepare
from nstcore.jobs.scratch import Scratch
from nstcore.plan import paths, preparation
from nstcore.plan.keys import style_identity, target_key
from nstcore.plan.plan import Cell, Plan
from nstcore.store.cells import Store
from nstcore.store.files import digest

if TYPE_CHECKING:
    from nstcore.jobs.engine import Engine

Pixels = NDArray[np.float32]

KEPT = 4
"""Pictures of a kind that stay in memory, which few together take little of, however large they are."""

COLOR_SAMPLES = 1 << 16
"""Pixels from which the colours of a blend are taken, or those that a style has for one content."""


class InputCache:
    """The pictures of a batch; those used last are kept, and cells come in an order that has use of that.

    Several threads may ask at once: at worst both read the same file.

    Args:
        plan: the run.
        store: where targets are kept that belong to a style and a content together.
        engine: gives what computes such a target.
    """

    def __init__(self, plan: Plan, store: Store, engine: Callable[[], Engine]) -> None:
        self.plan = plan
        self.store = store
        self._engine = engine
        self.scratch = Scratch(plan.config.cluster.scratch)
        # A kind each: a batch's contents are few, and many a style shall not drive them out.
        self._kept = {
            kind: lru_cache(KEPT)(self._load)
            for kind in (paths.CONTENT, paths.CONTENT_ALPHA, paths.STYLE)
        }
        self._grey = lru_cache(KEPT)(self._load_grey)

    def load(self, kind: str, **parts: Any) -> Pixels:
        """A prepared picture; ``kind`` is the pattern of its path."""
        return self._kept[kind](self.in_run(kind.format(**parts)))

    def _load(self, path: Path) -> Pixels:
        return load_float(self.scratch.local(path))

    def in_run(self, path: str) -> Path:
        """A path of the run's folder."""
        return Path(self.plan.config.run_dir) / path

    def prepared_content(self, cell: Cell) -> Pixels:
        """A cell's content in its own colours."""
        size = paths.size_label(cell.settings)
        return self.load(paths.CONTENT, content=cell.content, size=size)

    def alpha(self, cell: Cell) -> Pixels | None:
        """How opaque a cell's picture is to be, ``(H, W)`` in [0, 1]; None where it is all opaque."""
        settings = cell.settings
        if prepare.content_alpha(self.plan, cell.content, settings) is None:
            return None
        size = paths.size_label(settings)
        return self.load(paths.CONTENT_ALPHA, content=cell.content, size=size)[..., 0]

    def content(self, cell: Cell) -> Pixels:
        """A cell's content: one array for all cells that see the same."""
        settings = cell.settings
        if settings.color != "luminance":
            return self.prepared_content(cell)
        return self._grey(cell.content, paths.size_label(settings), settings.luminance_space)

    def _load_grey(self, content: str, size: str, space: LuminanceSpace) -> Pixels:
        return in_grey(self.load(paths.CONTENT, content=content, size=size), space)

    def start(self, cell: Cell) -> Pixels | None:
        """The picture of ``init: file``."""
        settings = cell.settings
        if settings.init_file is None:
            return None
        picture = decode(Path(settings.init_file), background=self.plan.config.background)
        return seen_picture(settings, to_float(picture.pixels))

    def style(self, cell: Cell, index: int) -> Pixels:
        """One picture of a cell's style, at its own size."""
        pixels = self.load(paths.STYLE, style=cell.style, index=index)
        if cell.settings.color == "style":
            return pixels
        return seen_style(cell.settings, pixels, self._visible(cell))

    def _visible(self, cell: Cell) -> Pixels:
        """The pixels of a cell's content that its picture shows: ``(1, M, 3)`` where not all."""
        content, alpha = self.prepared_content(cell), self.alpha(cell)
        if alpha is None or alpha.max() < 0.5:
            return content
        # What is transparent has the background's colour, which nobody will see.
        return content[alpha >= 0.5][np.newaxis]

    def style_colors(self, cell: Cell) -> Pixels:
        """A picture with a style's colours: of a blend, each part's in its share, in no order."""
        parts = self._parts(cell)
        if len(parts) == 1 and cell.settings.color == "style":
            return self.style(cell, 0)
        samples = []
        for index, part in parts:
            pixels = self.style(cell, index).reshape(-1, 3)
            count = max(1, round(part["weight"] * COLOR_SAMPLES))
            samples.append(pixels[np.linspace(0, len(pixels) - 1, count).round().astype(int)])
        return np.concatenate(samples)[np.newaxis]

    def targets(self, cell: Cell) -> list[Path]:
        """Files with the moments of a cell's style, for every level from coarse to fine.

        Where the content has a say in the style's colours they are computed here, and kept in the
        store for the next job that asks for the same.
        """
        settings = cell.settings
        layers = preparation.style_layers(settings)
        if settings.color == "style":
            names = [
                paths.target_id(settings, layers, size)
                for size in preparation.style_sizes(settings)
            ]
            return [
                self.in_run(paths.TARGET.format(style=cell.style, target=name)) for name in names
            ]
        return [self._target(cell, layers, size) for size in preparation.style_sizes(settings)]

    def _target(self, cell: Cell, layers: tuple[str, ...], size: int) -> Path:
        settings = cell.settings
        eye = prepare.encoder_facts(self.plan, settings)
        content = prepare.content_facts(self.plan, cell.content, settings)["digest"]
        alpha = prepare.content_alpha(self.plan, cell.content, settings)
        keys: list[str] = []
        files: list[Path] = []
        parts = self._parts(cell)
        for index, part in parts:
            seen = seen_style_digest(settings, part["digest"], content, alpha)
            guide = prepare.style_guide_facts(self.plan, cell.style, index)
            regions = None if guide is None else guide["digest"]
            key = target_key(seen, size, eye["sha256"], settings, layers, regions)
            file = self.store.path("targets", key, ".safetensors")
            if not file.is_file():
                picture = {**part, "digest": seen, "color": settings.color, "content": content}
                self._engine().style_target(
                    file,
                    self.style(cell, index),
                    size,
                    settings,
                    layers,
                    prepare.encoder_file(self.plan, settings),
                    prepare.target_facts(picture, size, settings, layers, eye, guide),
                    prepare.style_regions(self.plan, cell.style, index),
                )
            keys.append(key)
            files.append(file)
        source = self.plan.styles[cell.style]
        if source.regions:
            return self._regional(
                cell, {index: k for (index, _), k in zip(parts, keys, strict=True)}
            )
        if len(files) == 1:
            return files[0]
        weights = [part["weight"] for _, part in parts]
        blend = digest({"blend": style_identity(keys, weights)})
        file = self.store.path("targets", blend, ".safetensors")
        if not file.is_file():
            prepare.write_blend(file, files, weights, cell.style)
        return file

    def _regional(self, cell: Cell, keys: dict[int, str]) -> Path:
        """The target of a style for each region, from the targets of its pictures."""
        source = self.plan.styles[cell.style]
        ordered = [keys[index] for index in range(len(source.paths))]
        parts = sorted(zip(source.regions, ordered, source.weights, strict=True))
        file = self.store.path("targets", digest({"regions": parts}), ".safetensors")
        if not file.is_file():
            files = [self.store.path("targets", key, ".safetensors") for key in ordered]
            prepare.write_regions(file, files, source, cell.style)
        return file

    def _parts(self, cell: Cell) -> list[tuple[int, dict[str, Any]]]:
        """Index and facts of the pictures of a cell's style, by their digests."""
        facts = prepare.style_facts(self.plan, cell.style)
        return sorted(enumerate(facts), key=lambda part: str(part[1]["digest"]))
