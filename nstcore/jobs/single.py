"""A plan of one cell, from its inputs to its picture, without the workflow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nstcore.errors import UserError
from nstcore.jobs import prepare
from nstcore.jobs.stylize import stylize_among, stylize_batch
from nstcore.plan import paths, preparation
from nstcore.plan.plan import Plan
from nstcore.plan.record import CellRecord, Inputs
from nstcore.store.cells import Stored

if TYPE_CHECKING:
    from nstcore.jobs.engine import Progress


def prepare_inputs(plan: Plan) -> None:
    """Bring weights and pictures of a plan with one content and one style into its folder.

    Raises:
        UserError: if one of them cannot be used.
    """
    for encoder in preparation.encoders(plan):
        prepare.prepare_encoder(plan, encoder)
    for content, source in plan.contents.items():
        prepare.prepare_content(plan, content)
        if source.guide is not None:
            prepare.prepare_content_guide(plan, content)
    for style, pictures in plan.styles.items():
        for index in range(len(pictures.paths)):
            prepare.prepare_style(plan, style, index)
            if pictures.guide(index) is not None:
                prepare.prepare_style_guide(plan, style, index)


def make_picture(
    plan: Plan,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[Path, CellRecord]:
    """Make the only picture of a plan whose inputs are prepared.

    Args:
        plan: the run.
        threads: how many to compute with; None for all.
        progress: told about the descent.

    Returns:
        The picture's path and its record.

    Raises:
        UserError: if it cannot be made.
    """
    for style in plan.styles:
        prepare.make_targets(plan, style, threads=threads)
    [cell] = plan.cells()
    outcome = stylize_batch(plan, [cell], threads=threads, progress=progress)
    image = Path(plan.config.run_dir) / cell.image
    record = CellRecord.read(paths.record_path(image))
    if outcome.failed:
        raise UserError(f"no image was made: {record.reason}")
    return image, record


def inputs_of(plan: Plan) -> Inputs:
    """What the only cell of a plan is made from, once it is prepared."""
    [cell] = plan.cells()
    return prepare.inputs_of(plan, cell)


def make_among(
    plans: Sequence[Plan],
    place: int,
    *,
    threads: int | None = None,
    target_threads: int | None = None,
    progress: Progress | None = None,
) -> Stored:
    """Make the picture of one plan in one batch with those of others; see :func:`stylize_among`.

    Args:
        plans: each of a single cell, with prepared inputs, in the order of the batch.
        place: of the plan whose picture is wanted.
        threads: how many to compute with; None for all.
        target_threads: how many the styles' targets are computed with.
        progress: told about the descent.
    """
    for plan in plans:
        [cell] = plan.cells()
        targets = list(preparation.requests_of(cell.settings))
        prepare.make_targets(plan, cell.style, targets=targets, threads=target_threads)
    return stylize_among(plans, place, threads=threads, progress=progress)
