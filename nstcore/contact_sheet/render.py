"""Drawing planned pages as PNG and as PDF, from one reading of each image.

Images are read by a few threads and drawn in order.  What is in memory is one PNG and the few images
that are next; the PDF goes to its file as it is drawn.
"""

from __future__ import annotations

import io
import logging
import math
import re
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from PIL import Image, ImageDraw

from nstcore.contact_sheet.axes import SheetSpec
from nstcore.contact_sheet.headers import fit_within
from nstcore.contact_sheet.layout import MAX_AREA, Sources, plan_pages, source_sizes
from nstcore.contact_sheet.page import (
    Box,
    Header,
    Page,
    Part,
    Role,
    SheetCell,
    Text,
    baseline,
    line_height,
    pixel_font,
)
from nstcore.contact_sheet.pdf import Document, PdfPage
from nstcore.errors import ImageError, UserError
from nstcore.images.reading import SourceImage, read_thumbnail
from nstcore.store.files import atomic_path

log = logging.getLogger(__name__)

PAPER, RULE, BLANK, FLAWED = "#faf9f6", "#d6d2c8", "#f1efe9", "#f6e8e3"
INK: Mapping[Role, str] = {"ink": "#1f1e1b", "muted": "#6b675f", "alert": "#96301b"}

DPI = 120
"""Pixels of the PNG to an inch of paper."""

_POINT = 72 / DPI
_LONGEST_PDF_SIDE = 14_400  # points; what readers accept
_PDF_PIXELS = 24_000_000  # a page's images together, where there is room for more than the PNG's


def render_page(
    page: Page, run_dir: Path, out_dir: Path, *, sources: Sources, threads: int = 1
) -> list[Path]:
    """Draw one page as ``<out_dir>/<name>.png`` and ``.pdf``.

    All parts go into the PDF, one page each, with its text as text.  The PNG holds as many parts,
    one below the other, as its limits allow; the others stand beside it as ``<name>.part2.png``
    and so on.  The place of an image that cannot be read is filled, with a warning in the log.

    Args:
        page: a plan of `plan_pages`.
        run_dir: the folder that the cells' image paths start from.
        sources: the images of styles and contents.
        threads: how many images are read at the same time.

    Returns:
        The files written, the PDF last.
    """
    written: list[Path] = []
    pdf = out_dir / f"{page.name}.pdf"
    with (
        atomic_path(pdf) as temporary,
        temporary.open("wb") as file,
        ThreadPoolExecutor(threads) as pool,
    ):
        document = Document(file, page.title)
        drawing = _Drawing(page, run_dir, sources, document, pool, threads)
        for number, stack in enumerate(_stacked(page), start=1):
            part = f".part{number}" if number > 1 else ""
            written.append(out_dir / f"{page.name}{part}.png")
            drawing.draw(stack, written[-1])
        document.close()
    _remove_stale(page.name, out_dir, len(written))
    return [*written, pdf]


def write_sheets(
    metrics: pd.DataFrame,
    spec: SheetSpec,
    run_dir: Path,
    out_dir: Path,
    *,
    sources: Sources | None = None,
    values: Mapping[str, Sequence[Any]] | None = None,
    only: str | None = None,
    threads: int = 1,
) -> list[Path]:
    """Plan and draw all sheets of a run, or the one page named ``only``; see `render_page`.

    Raises:
        UserError: ``only`` is no page of the run, or the specification does not fit the run.
    """
    sources = sources or {}
    pages = plan_pages(metrics, spec, sizes=source_sizes(sources), values=values, only=only)
    if not pages:
        raise UserError(f"report: there is no page {only!r}")
    written: list[Path] = []
    for page in pages:
        written += render_page(page, run_dir, out_dir, sources=sources, threads=threads)
    return written


def _stacked(page: Page) -> list[list[Part]]:
    """Deal the parts out to PNGs, as many to each as its limits allow."""
    stacks: list[list[Part]] = []
    for part in page.parts:
        joined = [*stacks[-1], part] if stacks else [part]
        height = sum(member.height for member in joined)
        area = height * max(member.width for member in joined)
        if stacks and height <= page.max_side and area <= MAX_AREA:
            stacks[-1].append(part)
        else:
            stacks.append([part])
    return stacks


def _remove_stale(name: str, folder: Path, count: int) -> None:
    """Remove parts that an earlier, larger version of this page left."""
    for path in folder.glob("*.part*.png"):
        match = re.fullmatch(re.escape(name) + r"\.part(\d+)", path.stem)
        if match and int(match[1]) > count:
            path.unlink(missing_ok=True)


class _Thumbnail(NamedTuple):
    """An image as large as its place in the PNG, and as JPEG of some size for the PDF."""

    pixels: Image.Image
    jpeg: bytes
    size: tuple[int, int]


def _thumbnail(
    source: SourceImage | None, width: int, height: int, density: float
) -> _Thumbnail | None:
    """Read an image for a place of ``width`` × ``height`` pixels; None if that cannot be done."""
    if source is None:
        return None
    try:
        image = read_thumbnail(source, (round(width * density), round(height * density)))
    except ImageError as error:
        log.warning("contact sheet: %s", error)
        return None
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=88, subsampling="4:4:4", optimize=True)
    pixels = image.resize(fit_within(image.size, width, height), Image.Resampling.LANCZOS)
    return _Thumbnail(pixels, jpeg.getvalue(), image.size)


class _Pen:
    """Draws a part onto the PNG, from row ``top``, and onto a page of the PDF at the same time."""

    def __init__(
        self, canvas: Image.Image, top: int, pdf_page: PdfPage, part: Part, scale: float
    ) -> None:
        self.canvas, self.top, self.pdf_page = canvas, top, pdf_page
        self.scale, self.height = scale, part.height
        self.png = ImageDraw.Draw(canvas)
        self.fill(Box(0, 0, part.width, part.height), PAPER)

    def fill(self, box: Box, color: str) -> None:
        x, y = box.x, box.y + self.top
        self.png.rectangle((x, y, x + box.width - 1, y + box.height - 1), fill=color)
        self.pdf_page.fill(*self._to_points(box), color)

    def text(self, text: Text) -> None:
        font, color = pixel_font(text.size), INK[text.role]
        for number, line in enumerate(text.lines):
            x, y = text.box.x, text.box.y + number * line_height(text.size)
            base = baseline(text.size)
            self.png.text((x, round(y + self.top + base)), line, color, font, anchor="ls")
            up = self.height - (y + base)  # the origin of a PDF is the bottom left corner
            self.pdf_page.text(line, x * self.scale, up * self.scale, text.size * self.scale, color)

    def image(self, box: Box, pixels: Image.Image, number: int) -> None:
        self.canvas.paste(pixels, (box.x, box.y + self.top))
        self.pdf_page.image(number, *self._to_points(box))

    def _to_points(self, box: Box) -> tuple[float, float, float, float]:
        s = self.scale
        return box.x * s, (self.height - box.bottom) * s, box.width * s, box.height * s


_Place = tuple[SourceImage | None, int, int, list[Box]]
"""An image, the width and height that it may have, and the boxes that show it."""


@dataclass
class _Drawing:
    """One sheet under way; ``ahead`` images may be read already while one is drawn."""

    page: Page
    run_dir: Path
    sources: Sources
    document: Document
    pool: ThreadPoolExecutor
    ahead: int
    drawn: int = 0

    def draw(self, parts: Sequence[Part], path: Path) -> None:
        """Draw parts as one PNG at ``path`` and as a page of the PDF each."""
        size = max(part.width for part in parts), sum(part.height for part in parts)
        canvas = Image.new("RGB", size, PAPER)
        longest = max(max(part.width, part.height) for part in self.page.parts)
        scale = min(_POINT, _LONGEST_PDF_SIDE / longest)
        count, top = len(self.page.parts), 0
        for part in parts:
            self.drawn += 1
            heading = self.page.title + (f" · part {self.drawn} of {count}" if count > 1 else "")
            pdf_page = PdfPage(self.document, part.width * scale, part.height * scale, heading)
            self._part(part, _Pen(canvas, top, pdf_page, part, scale))
            self.document.add(pdf_page)
            top += part.height
        with atomic_path(path) as temporary:
            # Run lengths alone: as small for paintings, in half the time.
            canvas.save(
                temporary, "PNG", dpi=(DPI, DPI), compress_level=4, compress_type=zlib.Z_RLE
            )

    def _part(self, part: Part, pen: _Pen) -> None:
        for rule in part.rules:
            pen.fill(rule, RULE)
        density = _density(part)
        self._headers(part.headers, density, pen)
        self._cells(part.cells, density, pen)
        for text in part.texts:
            pen.text(text)

    def _headers(self, headers: Sequence[Header], density: float, pen: _Pen) -> None:
        """Draw the headers; an image that heads several groups is read once."""
        places: dict[tuple[str, str, int, int], _Place] = {}
        for header in headers:
            for label in header.labels:
                pen.text(label)
            if box := header.image:
                source = self.sources.get(header.axis, {}).get(header.value)
                if source is None:
                    log.warning("contact sheet: no image of %s %s", header.axis, header.value)
                key = (header.axis, header.value, box.width, box.height)
                places.setdefault(key, (source, box.width, box.height, []))[-1].append(box)
        self._images(places.values(), BLANK, density, pen)

    def _cells(self, cells: Sequence[SheetCell], density: float, pen: _Pen) -> None:
        images: list[_Place] = []
        most = self.page.thumb  # a row may be taller, where its header is
        for cell in cells:
            if cell.image is None:
                pen.fill(cell.box, BLANK if cell.status == "empty" else FLAWED)
            else:
                size = min(cell.box.width, most), min(cell.box.height, most)
                images.append((self.run_dir / cell.image, *size, [cell.box]))
        self._images(images, FLAWED, density, pen)
        for cell in cells:
            for note in cell.notes:
                if cell.image is not None:
                    pen.fill(_around(note), FLAWED)
                pen.text(note)

    def _images(self, images: Iterable[_Place], otherwise: str, density: float, pen: _Pen) -> None:
        """Draw images at the top left of their boxes, or fill these where one cannot be read."""
        for thumbnail, boxes in self._read_ahead(images, density):
            if thumbnail is None:
                for box in boxes:
                    pen.fill(box, otherwise)
                continue
            number = self.document.image(thumbnail.jpeg, *thumbnail.size)
            for box in boxes:
                place = Box(box.x, box.y, *thumbnail.pixels.size)
                pen.image(place, thumbnail.pixels, number)

    def _read_ahead(
        self, images: Iterable[_Place], density: float
    ) -> Iterator[tuple[_Thumbnail | None, list[Box]]]:
        waiting: deque[tuple[Future[_Thumbnail | None], list[Box]]] = deque()
        for source, width, height, boxes in images:
            waiting.append((self.pool.submit(_thumbnail, source, width, height, density), boxes))
            if len(waiting) > self.ahead:
                reading, shown = waiting.popleft()
                yield reading.result(), shown
        for reading, shown in waiting:
            yield reading.result(), shown


def _density(part: Part) -> float:
    """Pixels of the PDF's images to one of the PNG's: up to twice as many, within reason."""
    pixels = sum(cell.box.width * cell.box.height for cell in part.cells if cell.image) or 1
    return min(2.0, max(1.0, math.sqrt(_PDF_PIXELS / pixels)))


def _around(note: Text) -> Box:
    font = pixel_font(note.size)
    width = max(round(font.getlength(line)) for line in note.lines)
    return Box(note.box.x - 3, note.box.y, min(note.box.width, width) + 6, note.box.height)
