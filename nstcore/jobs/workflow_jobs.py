"""What the jobs of the workflow do that make many files each: a part of a stage, and its manifest.

An input that cannot be used leaves placeholders and the reason in place of its metadata: the cells that
need it then fail with that reason, and no other cell waits for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from nstcore.errors import ImageError, UnusableInput
from nstcore.images import write_image
from nstcore.jobs import prepare
from nstcore.jobs.heartbeat import write_heartbeats
from nstcore.jobs.manifests import write_manifest
from nstcore.jobs.output import placeholder
from nstcore.jobs.stylize import stylize_batch
from nstcore.jobs.targets import make_targets
from nstcore.jobs.workflow_files import RunFiles, cells_rule
from nstcore.plan import paths
from nstcore.plan.plan import Cell, Plan
from nstcore.store.files import write_json

log = logging.getLogger(__name__)


def make_contents(plan: Plan, part: str, manifest: str, *, refined: bool = False) -> None:
    """Prepare the contents of a part, with their guides, at all sizes of the grid or of refined cells."""
    sizes = plan.refined_sizes if refined else plan.sizes
    made: list[str] = []
    for content in RunFiles(plan).contents[part]:
        patterns = [paths.CONTENT, paths.CONTENT_METADATA]
        if plan.config.output.preserve_alpha:
            patterns.append(paths.CONTENT_ALPHA)
        steps = [partial(prepare.prepare_content, plan, content, sizes)]
        if plan.contents[content].guide is not None:
            patterns += [paths.CONTENT_GUIDE, paths.CONTENT_GUIDE_METADATA]
            steps.append(partial(prepare.prepare_content_guide, plan, content, sizes))
        files = [p.format(content=content, size=label) for p in patterns for label in sizes]
        made += _make(plan, steps, files)
    write_manifest(manifest, made)


def make_styles(plan: Plan, part: str, manifest: str) -> None:
    """Prepare the images of the styles of a part, with their guides."""
    made: list[str] = []
    for style in RunFiles(plan).styles[part]:
        source = plan.styles[style]
        for index in range(len(source.paths)):
            patterns = [paths.STYLE, paths.STYLE_METADATA]
            steps = [partial(prepare.prepare_style, plan, style, index)]
            if source.guide(index) is not None:
                patterns += [paths.STYLE_GUIDE, paths.STYLE_GUIDE_METADATA]
                steps.append(partial(prepare.prepare_style_guide, plan, style, index))
            made += _make(plan, steps, [p.format(style=style, index=index) for p in patterns])
    write_manifest(manifest, made)


def make_style_targets(
    plan: Plan, part: str, manifest: str, *, threads: int, refined: bool = False
) -> None:
    """Compute the targets of the styles of a part: those of the grid, or of refined cells alone."""
    targets = list(plan.refined_targets if refined else plan.targets)
    made: list[str] = []
    for style in RunFiles(plan).styles[part]:
        step = partial(make_targets, plan, style, targets=targets, threads=threads)
        made += _make(plan, [step], [paths.TARGET.format(style=style, target=t) for t in targets])
    write_manifest(manifest, made)


def make_batch(plan: Plan, stage: str, part: str, manifest: str, *, threads: int) -> None:
    """Make the cells of a batch of the grid, or of refined cells."""
    cells = cells_rule(plan, stage).cells({"part": part})
    with write_heartbeats(plan, cells) as writer:
        stylize_batch(plan, cells, threads=threads, progress=writer, waits=writer.waits)
    write_manifest(manifest, cell_files(cells))


def cell_files(cells: Iterable[Cell]) -> list[str]:
    """The image and the record of each cell, from the run's folder."""
    return [file for cell in cells for file in (cell.image, str(paths.record_path(cell.image)))]


def _make(plan: Plan, steps: Iterable[Callable[[], None]], files: Iterable[str]) -> Iterable[str]:
    """Make the files of one input; see this module's docstring."""
    try:
        for step in steps:
            step()
    except ImageError as error:
        if not isinstance(error, UnusableInput):  # else the job that found it has said so
            log.error("%s", error)
        for path in (Path(plan.config.run_dir, file) for file in files):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".json":
                write_json(path, {"error": str(error)})
            elif path.suffix == ".png":
                write_image(path, placeholder(256, 256, str(error)))
            else:
                path.write_bytes(b"")
    return files
