"""The report's small pictures: made once for each picture, reused while it stays the same."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from PIL import Image

from nstcore.contact_sheet.pictures import Picture, load, load_source
from nstcore.errors import ImageError
from nstcore.plan.record import CellRecord

log = logging.getLogger(__name__)

VIEWABLE = (".png", ".jpg", ".jpeg", ".webp")
"""Formats that every browser shows; of others the report gets a copy to look at."""

_VIEW_SIDE = 2048


class Thumbnails:
    """A folder of small pictures.

    Args:
        folder: where they stand; made when needed.
        side: longest side in pixels.
        threads: how many pictures are read at the same time.
    """

    def __init__(self, folder: Path, side: int, threads: int) -> None:
        self.folder = folder
        self.side = side
        self.threads = threads
        self.used: set[str] = set()

    def of_cells(self, images: Iterable[tuple[Path, str] | None]) -> list[str | None]:
        """Make the thumbnails of cells that are not there yet.

        Args:
            images: for each cell its picture and a digest that changes with it, or None.

        Returns:
            The name in the folder of each thumbnail; None where there is no readable picture.
        """
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(lambda image: image and self._of_cell(*image), images))

    def _of_cell(self, path: Path, digest: str) -> str | None:
        name = f"{digest[:24]}-{self.side}.webp"
        if not (self.folder / name).is_file():
            try:
                self._save(load(path, (self.side, self.side)), name)
            except ImageError as error:
                log.warning("report: %s", error)
                return None
        self.used.add(name)
        return name

    def of_source(self, axis: str, name: str, picture: Picture) -> str | None:
        """Make the thumbnail of a style or content; None if it cannot be read."""
        file = f"{axis}-{name}.webp"
        try:
            self._save(load_source(picture, (self.side, self.side)), file)
        except ImageError as error:
            log.warning("report: %s", error)
            return None
        self.used.add(file)
        return file

    def view_of(self, path: Path, digest: str) -> str | None:
        """Make a copy that a browser can show of a picture that it cannot, such as a TIFF."""
        name = f"{digest[:24]}-view.webp"
        if not (self.folder / name).is_file():
            try:
                self._save(load(path, (_VIEW_SIDE, _VIEW_SIDE)), name, quality=92)
            except ImageError:
                return None
        self.used.add(name)
        return name

    def remove_unused(self) -> None:
        """Remove what an earlier report needed and this one does not."""
        for path in self.folder.glob("*.webp"):
            if path.name not in self.used:
                path.unlink(missing_ok=True)

    def _save(self, image: Image.Image, name: str, quality: int = 82) -> None:
        """Write without waiting for the disk: a thumbnail lost in a crash is made again."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{secrets.token_hex(6)}.tmp"
        try:
            image.save(temporary, "WEBP", quality=quality, method=2)
            os.replace(temporary, self.folder / name)
        finally:
            temporary.unlink(missing_ok=True)


def pictures_of(
    run_dir: Path,
    metrics: pd.DataFrame,
    records: Sequence[CellRecord | None],
    thumbs: Thumbnails,
) -> tuple[list[str | None], dict[int, str]]:
    """Thumbnails of all cells that have a picture, and views of those no browser can show."""
    images: list[tuple[Path, str] | None] = []
    for image, status, record in zip(metrics["image"], metrics["status"], records, strict=True):
        made = record.image if record and status in ("ok", "diverged") else None
        digest = made.sha256 or "" if made else ""
        if digest.isalnum():
            images.append((run_dir / image, digest))
        else:
            images.append(None)
    names = thumbs.of_cells(images)
    views = {
        number: view
        for number, image in enumerate(images)
        if image and image[0].suffix.lower() not in VIEWABLE
        for view in [thumbs.view_of(*image)]
        if view
    }
    return names, views
