"""Select the cells of a finished grid that are made again, larger."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nstcore.config.run import PARETO
from nstcore.jobs.workflow_files import SELECTION
from nstcore.plan.plan import Cell, Plan
from nstcore.plan.refine import refined
from nstcore.store.files import write_text

log = logging.getLogger(__name__)

COLUMNS = ("style", "content", "setting", "seed", "rank", "content_loss", "style_loss", "image")


@dataclass(frozen=True)
class SelectedCell:
    """A selected cell.

    Attributes:
        cell: of the grid.
        rank: 1 for the first of its style and content.
        content_loss, style_loss: its metrics; NaN where it has none.
    """

    cell: Cell
    rank: int
    content_loss: float
    style_loss: float


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The points that no other dominates, from the knee outwards.

    A point is dominated by one that is no worse in either loss and better in one; of equal points the
    first stays.  With both losses scaled so that the front's ends are (0, 1) and (1, 0), the knee is
    the point farthest below the line between them, and the others follow by their distance to it.

    Args:
        points: content and style loss; a point with one that is not finite is on no front.

    Returns:
        Indices into ``points``.
    """
    finite = [i for i, point in enumerate(points) if all(map(math.isfinite, point))]
    front: list[int] = []
    for i in sorted(finite, key=lambda i: (*points[i], i)):
        # Sorted by the first loss: a later point has to be better in the second.
        if not front or points[i][1] < points[front[-1]][1]:
            front.append(i)
    if not front:
        return []
    (left, top), (right, bottom) = points[front[0]], points[front[-1]]
    width, height = right - left or 1.0, top - bottom or 1.0
    scaled = {i: ((points[i][0] - left) / width, (points[i][1] - bottom) / height) for i in front}
    knee = min(front, key=lambda i: (sum(scaled[i]), i))
    return sorted(front, key=lambda i: (math.dist(scaled[i], scaled[knee]), i))


def select(plan: Plan, losses: dict[str, tuple[float, float]]) -> list[SelectedCell]:
    """The selected cells of a finished grid, in its order of styles and contents.

    Args:
        plan: the run.
        losses: path of each image that was made -> its content and style loss.
    """
    refine = plan.config.refine
    assert refine is not None
    pairs: dict[tuple[str, str], list[Cell]] = {}
    for cell in plan.refinable:
        if cell.image in losses:
            pairs.setdefault((cell.style, cell.content), []).append(cell)
        elif refine.choose != PARETO:
            log.warning("%s was chosen and is not made again: it failed", cell.image)
    found: list[SelectedCell] = []
    for cells in pairs.values():
        order = list(range(len(cells)))
        if refine.choose == PARETO:
            order = pareto_front([losses[cell.image] for cell in cells])[: refine.count]
        found += [
            SelectedCell(cells[i], rank, *losses[cells[i].image])
            for rank, i in enumerate(order, start=1)
        ]
    return found


def write_selection(plan: Plan) -> None:
    """Write the table of selected cells from the run's metrics."""
    from nstcore.results.tables import read_table

    run = Path(plan.config.run_dir)
    metrics = read_table(run / "metrics.parquet")
    made = metrics[metrics["status"] == "ok"]
    measured = made.reindex(columns=["image", "content_loss", "style_loss"])
    losses = {
        str(image): (float(content), float(style))
        for image, content, style in measured.itertuples(index=False)
    }
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    selected = select(plan, losses)
    for one in selected:
        cell = one.cell
        named = [cell.style, cell.content, cell.point.name, cell.point.seed]
        image = refined(plan.config, cell).image
        writer.writerow([*named, one.rank, one.content_loss, one.style_loss, image])
    write_text(run / SELECTION, text.getvalue())
    log.info("%d cells are made again", len(selected))
