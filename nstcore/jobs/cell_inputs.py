"""What one cell is made from: the prepared files of its run and what is known of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from nstcore.config.run import Output
from nstcore.core.settings import Settings
from nstcore.errors import StoreError, UnusableInput
from nstcore.images import decode
from nstcore.plan import paths
from nstcore.plan.keys import cell_key, evaluation_key, guide_identity, style_identity
from nstcore.plan.plan import Cell, Plan
from nstcore.plan.record import (
    ContentInput,
    EncoderInput,
    Guide,
    Inputs,
    RecordPart,
    StartInput,
    StyleInput,
)
from nstcore.store.files import retry_io

Part = TypeVar("Part", bound=RecordPart)


@dataclass(frozen=True)
class CellInputs:
    """Everything that one image is computed from, or evaluated with.

    Attributes:
        run: the run's folder.
        style_id, content_id: the cell's.
        settings, seed: the cell's; to evaluate, the settings of that encoder.
        content: the content as it was prepared at the size of the settings.
        style: the images of the style, at their own sizes.
        encoder: with its weights.
        start: the image of ``init: file``.
        background: color that transparent contents are laid over.
        output: the format of the image's file.
    """

    run: Path
    style_id: str
    content_id: str
    settings: Settings
    seed: int
    content: ContentInput
    style: tuple[StyleInput, ...]
    encoder: EncoderInput
    start: StartInput | None
    background: str
    output: Output

    def key(self) -> str:
        """Identity of the cell; see :func:`nstcore.plan.keys.cell_key`."""
        settings, guide = self.settings, self.content.guide
        return cell_key(
            settings,
            seed=self.seed,
            content=self.content.digest,
            style=self.style_identity,
            encoder=self.encoder.sha256,
            output=self.output,
            start=None if self.start is None else self.start.digest,
            guide=guide_identity(
                None if guide is None else guide.digest,
                settings.guide_propagation,
                settings.region_weights,
            ),
            alpha=self.content.alpha,
        )

    def evaluation_key(self, image: str) -> str:
        """Identity of the metrics of an image with this checksum, measured with these inputs."""
        guide = self.content.guide
        return evaluation_key(
            image,
            self.content.digest,
            self.style_identity,
            self.encoder.sha256,
            self.settings.size,
            None if guide is None else guide.digest,
        )

    @cached_property
    def style_identity(self) -> list[list[Any]]:
        """What the style is to the content: its regions count where the content has some too."""
        regions = None
        if self.content.guide is not None:
            regions = [(s.region or "", s.guide.digest if s.guide else "") for s in self.style]
        return style_identity(
            [s.digest for s in self.style], [s.weight for s in self.style], regions
        )

    @property
    def style_by_digest(self) -> list[tuple[int, StyleInput]]:
        """Index and metadata of the images, in an order that the configuration does not change."""
        return sorted(enumerate(self.style), key=lambda part: part[1].digest)

    def record(self) -> Inputs:
        """The inputs as a record tells them."""
        known = StyleInput.model_fields
        values = [{k: v for k, v in s.to_json().items() if k in known} for s in self.style]
        return Inputs(
            content=self.content,
            style=[StyleInput.model_validate(value) for value in values],
            encoder=self.encoder,
            background=self.background,
            **({} if self.start is None else {"start": self.start}),
        )

    def file(self, pattern: str, **parts: Any) -> Path:
        """A file by its pattern in :mod:`nstcore.plan.paths`, of the cell's style, content and so on."""
        return self.run / pattern.format(
            style=self.style_id,
            content=self.content_id,
            size=paths.size_label(self.settings),
            encoder=paths.encoder_id(self.settings.encoder, self.settings.weights),
            **parts,
        )


class RunInputs:
    """The prepared inputs of a run: their metadata is read once."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.run = plan, Path(plan.config.run_dir)
        self.evaluation_settings = plan.evaluation_settings
        self._metadata = cache(_read_metadata)
        self._start_digest = cache(self._decoded_digest)
        self.style = cache(self._style_images)

    def of(self, cell: Cell) -> CellInputs:
        """The inputs of a cell.

        Raises:
            StoreError: something is not prepared, or its metadata is damaged.
            UnusableInput: an image could not be prepared.
        """
        return self._inputs(cell.style, cell.content, cell.settings, cell.point.seed)

    def evaluation(self, style: str, content: str) -> CellInputs:
        """What images of a style and a content are evaluated with."""
        return self._inputs(style, content, self.evaluation_settings, 0)

    def _inputs(self, style: str, content: str, settings: Settings, seed: int) -> CellInputs:
        config = self.plan.config
        return CellInputs(
            self.run,
            style,
            content,
            settings,
            seed,
            self._content(content, settings),
            self.style(style),
            self.encoder(settings),
            self._start(settings),
            config.background,
            config.output,
        )

    def _content(self, content: str, settings: Settings) -> ContentInput:
        size = paths.size_label(settings)
        values = self.content_metadata(content, size)
        found = {name: values.get(name) for name in ("path", "digest", "width", "height")}
        guide = self.content_guide(content, size)
        if guide is not None:
            found["guide"] = guide
        if self.plan.config.output.preserve_alpha and values["alpha"] is not None:
            found["alpha"] = values["alpha"]
        return _validated(ContentInput, found, content)

    def _style_images(self, style: str) -> tuple[StyleInput, ...]:
        source = self.plan.styles[style]
        found = []
        for index, weight in enumerate(source.weights):
            values: dict[str, Any] = {**self.style_metadata(style, index), "weight": weight}
            if source.regions:
                values["region"] = source.regions[index]
            guide = self.style_guide(style, index)
            if guide is not None:
                values["guide"] = guide
            found.append(_validated(StyleInput, values, style))
        return tuple(found)

    def _start(self, settings: Settings) -> StartInput | None:
        if settings.init_file is None:
            return None
        path = Path(settings.init_file)
        digest = self._start_digest(path, path.stat().st_mtime_ns)
        return StartInput(path=settings.init_file, digest=digest)

    def _decoded_digest(self, path: Path, _modified: int) -> str:
        return decode(path, background=self.plan.config.background).digest

    def encoder(self, settings: Settings) -> EncoderInput:
        """Name, source and sha256 of the encoder of some settings."""
        encoder = paths.encoder_id(settings.encoder, settings.weights)
        return self._part(EncoderInput, paths.ENCODER_METADATA, encoder=encoder)

    def content_metadata(self, content: str, size: str) -> Mapping[str, Any]:
        """What is known of a content at a size, by its label; see :func:`nstcore.images.prepare`."""
        return self._metadata(self.file(paths.CONTENT_METADATA, content=content, size=size))

    def style_metadata(self, style: str, index: int) -> Mapping[str, Any]:
        """What is known of one image of a style."""
        return self._metadata(self.file(paths.STYLE_METADATA, style=style, index=index))

    def content_guide(self, content: str, size: str) -> Guide | None:
        """The regions of a content at a size, by its label; None without any."""
        if self.plan.contents[content].guide is None:
            return None
        return self._part(Guide, paths.CONTENT_GUIDE_METADATA, content=content, size=size)

    def style_guide(self, style: str, index: int) -> Guide | None:
        """The regions of one image of a style; None without any."""
        if self.plan.styles[style].guide(index) is None:
            return None
        return self._part(Guide, paths.STYLE_GUIDE_METADATA, style=style, index=index)

    def file(self, pattern: str, **parts: Any) -> Path:
        """A file of the run by its pattern in :mod:`nstcore.plan.paths`."""
        return self.run / pattern.format(**parts)

    def _part(self, model: type[Part], pattern: str, **parts: Any) -> Part:
        path = self.file(pattern, **parts)
        return _validated(model, self._metadata(path), path)


def _read_metadata(path: Path) -> dict[str, Any]:
    try:
        # Another node may have written it a moment ago.
        text = retry_io(lambda: path.read_text(encoding="utf-8"), expected=True)
        value: dict[str, Any] = json.loads(text)
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); delete it and run again") from None
    if "error" in value:
        raise UnusableInput(value["error"])
    return value


def _validated(model: type[Part], values: Mapping[str, Any], source: Path | str) -> Part:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise StoreError(
            f"{source}: damaged metadata ({'.'.join(map(str, problem['loc']))}: {problem['msg']}); "
            "delete it and run again"
        ) from None
