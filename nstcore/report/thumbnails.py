"""Thumbnails of cells and inputs: made once for each image and reused while it stays the same."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from nstcore.errors import ImageError
from nstcore.images.reading import SourceImage, read_thumbnail
from nstcore.plan.record import CellRecord
from nstcore.report.html_page import VIEWABLE
from nstcore.store.files import atomic_path

log = logging.getLogger(__name__)

_VIEW_SIDE = 2048


class Thumbnails:
    """A folder of thumbnails.

    Args:
        folder: created when needed.
        side: long side in pixels.
        threads: how many images are read at the same time (default: up to four).
    """

    def __init__(self, folder: Path, side: int, threads: int | None = None) -> None:
        self.folder = folder
        self.side = side
        self.threads = threads or min(4, os.cpu_count() or 1)
        self._used: set[str] = set()

    def of_cells(
        self, run_dir: Path, metrics: pd.DataFrame, records: Sequence[CellRecord]
    ) -> tuple[list[str | None], dict[int, str]]:
        """Make the thumbnails of a run's cells, as far as they are not there yet.

        Returns:
            File name of each thumbnail in the folder, None where there is no readable image; and by the
            number of a cell the file name of a large copy of an image that browsers cannot show.
        """
        images: list[tuple[Path, str] | None] = []
        for path, status, record in zip(metrics["image"], metrics["status"], records, strict=True):
            made = record.image if status in ("ok", "diverged") else None
            digest = made.sha256 or "" if made else ""
            images.append((run_dir / path, digest[:24]) if digest.isalnum() else None)

        def thumbnail(image: tuple[Path, str] | None) -> str | None:
            return image and self._make(f"{image[1]}-{self.side}.webp", image[0], self.side)

        with ThreadPoolExecutor(self.threads) as pool:
            names = list(pool.map(thumbnail, images))
        views = {
            number: view
            for number, image in enumerate(images)
            if image and names[number] and image[0].suffix.lower() not in VIEWABLE
            if (view := self._make(f"{image[1]}-view.webp", image[0], _VIEW_SIDE, quality=92))
        }
        return names, views

    def of_source(self, axis: str, name: str, image: SourceImage) -> str | None:
        """Make the thumbnail of a style or content; None if it cannot be read."""
        return self._make(f"{axis}-{name}.webp", image, self.side, keep=False)

    def remove_unused(self) -> None:
        """Remove what an earlier report needed and this one does not."""
        for path in self.folder.glob("*.webp"):
            if path.name not in self._used:
                path.unlink(missing_ok=True)

    def _make(
        self, name: str, image: SourceImage, side: int, *, quality: int = 82, keep: bool = True
    ) -> str | None:
        """Make a file; keep one that is there, unless its name does not change with the image."""
        path = self.folder / name
        if name not in self._used and not (keep and path.is_file()):
            try:
                small = read_thumbnail(image, (side, side))
            except ImageError as error:
                log.warning("report: %s", error)
                return None
            # It need not wait for the disk: a thumbnail that is lost in a crash is made again.
            with atomic_path(path, sync=False) as temporary:
                small.save(temporary, "WEBP", quality=quality, method=2)
        self._used.add(name)
        return name
