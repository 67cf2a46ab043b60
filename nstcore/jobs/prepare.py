"""The stages before any optimization: prepared contents, styles, guides and encoders; the grid."""

from __future__ import annotations

import csv
import io
import logging
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nstcore.core.encoders import locate
from nstcore.errors import ConfigError, ImageError, UnusableInput
from nstcore.images import prepare
from nstcore.images.masks import Regions, check_proportions, read_guide, save_regions
from nstcore.images.saving import check_sides
from nstcore.jobs.cell_inputs import RunInputs
from nstcore.plan import paths
from nstcore.plan.paths import LabelledSizes
from nstcore.plan.plan import Cell, Plan
from nstcore.plan.values import table_text
from nstcore.store.files import file_sha256, write_json, write_text

log = logging.getLogger(__name__)

NATIVE = 1 << 30
"""A size that no image has: with ``upscale=False`` it means "as large as it is"."""


def prepare_inputs(plan: Plan) -> None:
    """Bring weights and images of a plan into its folder, without the workflow.

    Raises:
        UserError: if one of them cannot be used.
    """
    for encoder in plan.encoders:
        prepare_encoder(plan, encoder)
    prepare_images(plan)


def prepare_images(plan: Plan) -> None:
    """Prepare every image and guide of a plan.

    Raises:
        ImageError: one line for every content and style that cannot be used.
    """
    problems: list[str] = []
    for content, source in plan.contents.items():
        try:
            prepare_content(plan, content)
            if source.guide is not None:
                prepare_content_guide(plan, content)
        except ImageError as error:
            problems.append(f"contents.{content}: {error}")
    for style, images in plan.styles.items():
        for index in range(len(images.paths)):
            try:
                prepare_style(plan, style, index)
                if images.guide(index) is not None:
                    prepare_style_guide(plan, style, index)
            except ImageError as error:
                problems.append(f"styles.{style}: {error}")
    if problems:
        raise ImageError("\n".join(problems))


def prepare_content(plan: Plan, content: str, sizes: LabelledSizes | None = None) -> None:
    """Write a content at some sizes (None: those of the grid), with its metadata beside it.

    Raises:
        ImageError: it cannot be read, or the images made of it would not fit into their format.
    """
    output = plan.config.output
    for label, (size, by) in (plan.sizes if sizes is None else sizes).items():
        destination = _in_run(plan, paths.CONTENT, content=content, size=label)
        metadata = prepare(
            Path(plan.contents[content].path),
            destination,
            size,
            by=by,
            background=plan.config.background,
            alpha=_in_run(plan, paths.CONTENT_ALPHA, content=content, size=label)
            if output.preserve_alpha
            else None,
        )
        width, height = metadata["width"], metadata["height"]
        check_sides(Path(f"{content}.{output.format}"), width, height)
        write_json(destination.with_suffix(".json"), metadata)
        log.info("content %s: %d x %d px", content, width, height)


def prepare_style(plan: Plan, style: str, index: int) -> None:
    """Write one image of a style at its own size, with its metadata beside it."""
    source = plan.styles[style].paths[index]
    destination = _in_run(plan, paths.STYLE, style=style, index=index)
    metadata = prepare(
        Path(source), destination, NATIVE, background=plan.config.background, upscale=False
    )
    write_json(destination.with_suffix(".json"), metadata)
    log.info("style %s: %s, %d x %d px", style, source, metadata["width"], metadata["height"])


def prepare_content_guide(plan: Plan, content: str, sizes: LabelledSizes | None = None) -> None:
    """Write a content's regions at some sizes, as :func:`prepare_content` its pixels.

    Raises:
        ImageError: the guide cannot be read, or has other proportions than its image.
    """
    guide = plan.contents[content].guide
    assert guide is not None
    regions, inputs = read_guide(guide), RunInputs(plan)
    for label in plan.sizes if sizes is None else sizes:
        destination = _in_run(plan, paths.CONTENT_GUIDE, content=content, size=label)
        _write_guide(destination, guide, regions, inputs.content_metadata(content, label))
    log.info("content %s: regions %s", content, ", ".join(regions.names))


def prepare_style_guide(plan: Plan, style: str, index: int) -> None:
    """Write the regions of one image of a style, at its own size.

    Raises:
        ImageError: as :func:`prepare_content_guide`.
    """
    guide = plan.styles[style].guide(index)
    assert guide is not None
    regions, metadata = read_guide(guide), RunInputs(plan).style_metadata(style, index)
    destination = _in_run(plan, paths.STYLE_GUIDE, style=style, index=index)
    _write_guide(destination, guide, regions, metadata)
    log.info("style %s, image %d: regions %s", style, index, ", ".join(regions.names))


def _write_guide(
    destination: Path, guide: str | Mapping[str, str], regions: Regions, image: Mapping[str, Any]
) -> None:
    source = guide if isinstance(guide, str) else next(iter(guide.values()))
    check_proportions(regions, source, image["source_width"], image["source_height"])
    prepared = regions.at((image["width"], image["height"]))
    save_regions(destination, prepared)
    metadata = {"path": guide, "digest": prepared.digest, "regions": prepared.areas}
    write_json(destination.with_suffix(".json"), metadata)


def prepare_encoder(plan: Plan, encoder: str) -> None:
    """Bring the weights of one of the run's encoders into its folder.

    Raises:
        WeightsError: they are missing, or are not the encoder's.
    """
    from nstcore.core.encoders import fetch

    name, weights = {**plan.encoders, **plan.refined_encoders}[encoder]
    destination = _in_run(plan, paths.ENCODER, encoder=encoder)
    fetch(name, weights, destination, destination.with_suffix(".json"))


def check_regions(plan: Plan) -> None:
    """Check that contents and styles have the same regions, once their guides are prepared.

    Raises:
        ConfigError: one line for every content and style that do not go together.
    """
    inputs = RunInputs(plan)
    size = paths.size_label(inputs.evaluation_settings)
    contents: dict[str, tuple[str, ...]] = {}
    styles: dict[tuple[str, int], tuple[str, ...]] = {}
    for content in plan.contents:
        with suppress(UnusableInput):
            if (guide := inputs.content_guide(content, size)) is not None:
                contents[content] = tuple(guide.regions)
    for style, source in plan.styles.items():
        for index in range(len(source.paths)):
            with suppress(UnusableInput):
                if (guide := inputs.style_guide(style, index)) is not None:
                    styles[style, index] = tuple(guide.regions)
    problems = plan.region_problems(contents, styles)
    if problems:
        raise ConfigError(problems)


def write_grid(plan: Plan, path: Path | str, cells: Iterable[Cell] | None = None) -> None:
    """Write ``grid.tsv``: one row a cell (None: of the grid), with its key, batch and image's path.

    Raises:
        ConfigError: contents and styles do not have the same regions.
    """
    check_regions(plan)
    inputs = RunInputs(plan)
    swept = [axis for axis in plan.axis_values if axis in plan.config.sweep.axes]
    order = ["style", "content", "setting", "seed", *swept]
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow([*order, "key", "batch", "image"])
    written = list(plan.cells() if cells is None else cells)
    for cell in written:
        values = {**cell.axes, "setting": cell.point.name}
        row = [table_text(values[name]) for name in order]
        try:
            key = inputs.of(cell).key()
        except UnusableInput:  # its record says why
            key = ""
        writer.writerow([*row, key, cell.batch, cell.image])
    write_text(path, text.getvalue())
    log.info("%d cells", len(written))


def _in_run(plan: Plan, pattern: str, **parts: Any) -> Path:
    return Path(plan.config.run_dir) / pattern.format(**parts)


def cell_keys(plan: Plan) -> list[str]:
    """The keys of all cells; nothing is written into the run's folder.

    Raises:
        WeightsError: if an encoder's weights are not on this machine.
        ImageError: if an image or a guide cannot be read.
        ConfigError: if contents and styles do not have the same regions.
    """
    with tempfile.TemporaryDirectory(prefix="nst-plan-") as folder:
        # The same plan in another folder: its inputs are prepared there, and nothing is computed.
        elsewhere = Plan(plan.config.model_copy(update={"results": folder}))
        root = Path(elsewhere.config.run_dir)
        for name, (encoder, weights) in plan.encoders.items():
            sha256 = file_sha256(locate(encoder, weights))
            info = {"name": encoder, "source": "", "sha256": sha256}
            write_json(root / paths.ENCODER_METADATA.format(encoder=name), info)
        prepare_images(elsewhere)
        check_regions(elsewhere)
        inputs = RunInputs(elsewhere)
        return [inputs.of(cell).key() for cell in elsewhere.cells()]
