"""Drawing planned pages: PNG by Pillow, PDF by reportlab, from one reading of each picture."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image, ImageDraw
from reportlab import rl_config
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from nstcore.errors import ImageError, UserError
from nstcore.sheet.axes import SheetSpec
from nstcore.sheet.layout import MAX_AREA, plan_pages
from nstcore.sheet.lettering import baseline, line_height, pdf_font, pixel_font
from nstcore.sheet.page import Box, Cell, Head, Page, Part, Role, Text
from nstcore.sheet.pictures import Sources, load, load_source, source_sizes
from nstcore.store.atomic import atomic_path

log = logging.getLogger(__name__)

PAPER, RULE, BLANK, FLAWED = "#faf9f6", "#d6d2c8", "#f1efe9", "#f6e8e3"
INK: Mapping[Role, str] = {"ink": "#1f1e1b", "muted": "#6b675f", "alert": "#96301b"}

DPI = 120
"""Pixels of the PNG to an inch of paper."""

_POINT = 72 / DPI
_LONGEST_PDF_SIDE = 14_400  # points; what readers accept
_PDF_PIXELS = 24_000_000  # a page's pictures together, where there is room for more than the PNG's


def render_page(
    page: Page, run_dir: Path, sources: Sources | None = None, *, png: Path, pdf: Path
) -> list[Path]:
    """Draw one page as PNG and as PDF.

    All parts go into the PDF, one page each, with its text as text.  The PNG holds as many parts,
    one below the other, as its limits allow; the others stand beside it as ``<name>.part2.png``
    and so on.  Pictures that cannot be read leave a note, not a hole in the run.

    Args:
        page: a plan of `plan_pages`.
        run_dir: the folder that the cells' image paths start from.
        sources: the pictures of styles and contents.
        png: where the picture goes.
        pdf: where the document goes.

    Returns:
        The files written, the PDF last.
    """
    sheets = _stacked(page)
    number = 0
    written: list[Path] = []
    scale = min(_POINT, _LONGEST_PDF_SIDE / max(max(p.width, p.height) for p in page.parts))
    with atomic_path(pdf) as temporary, _binary_streams():
        document = Canvas(str(temporary), invariant=1, pageCompression=1, lang="en")
        document.setTitle(page.title)
        document.setCreator("nstcore")
        for stack in sheets:
            width = max(part.width for part in stack)
            canvas = Image.new("RGB", (width, sum(part.height for part in stack)), PAPER)
            top = 0
            for part in stack:
                pens = (_Pixels(canvas, top), _Points(document, part, scale))
                _draw(part, run_dir, sources or {}, page.thumb, pens)
                document.bookmarkPage(f"part{len(written)}-{top}")
                document.addOutlineEntry(page.title, f"part{len(written)}-{top}")
                document.showPage()
                top += part.height
            number += 1
            path = png if number == 1 else png.with_name(f"{png.stem}.part{number}{png.suffix}")
            with atomic_path(path) as picture:
                canvas.save(picture, "PNG", dpi=(DPI, DPI), compress_level=4)
            written.append(path)
        document.save()
    _remove_stale(png, number)
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
) -> list[Path]:
    """Plan and draw all sheets of a run, or the one page named ``only``.

    Returns:
        The files written: ``<out_dir>/<page>.png`` and ``.pdf`` for each page of `page_names`,
        and further parts of a page that is too large for one picture.

    Raises:
        UserError: there is no page ``only``, or the specification does not fit the run.
    """
    sizes = source_sizes(sources or {})
    pages = plan_pages(metrics, spec, sizes=sizes, values=values, only=only)
    if not pages:
        raise UserError(f"report: there is no page {only!r}")
    written: list[Path] = []
    for page in pages:
        png, pdf = out_dir / f"{page.name}.png", out_dir / f"{page.name}.pdf"
        written.extend(render_page(page, run_dir, sources, png=png, pdf=pdf))
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


def _remove_stale(png: Path, count: int) -> None:
    """Remove parts that an earlier, larger version of this page left."""
    for path in png.parent.glob("*.part*" + png.suffix):
        match = re.fullmatch(re.escape(png.stem) + r"\.part(\d+)", path.stem)
        if match and int(match[1]) > count:
            path.unlink(missing_ok=True)


@contextmanager
def _binary_streams() -> Iterator[None]:
    """Let reportlab write pictures as they are, not as text that is a quarter longer."""
    before = rl_config.useA85
    rl_config.useA85 = 0
    try:
        yield
    finally:
        rl_config.useA85 = before


class _Pixels:
    """A pen for one part of a PNG."""

    density = 1.0

    def __init__(self, canvas: Image.Image, top: int) -> None:
        self.canvas, self.top = canvas, top
        self.pen = ImageDraw.Draw(canvas)

    def fill(self, box: Box, color: str) -> None:
        x, y = box.x, box.y + self.top
        self.pen.rectangle((x, y, x + box.width - 1, y + box.height - 1), fill=color)

    def picture(self, box: Box, image: Image.Image) -> None:
        sized = image.resize((box.width, box.height), Image.Resampling.LANCZOS)
        self.canvas.paste(sized, (box.x, box.y + self.top))

    def text(self, text: Text) -> None:
        font = pixel_font(text.size, text.bold)
        for number, line in enumerate(text.lines):
            y = text.box.y + self.top + number * line_height(text.size) + baseline(text.size)
            self.pen.text((text.box.x, round(y)), line, INK[text.role], font, anchor="ls")


class _Points:
    """A pen for one page of a PDF, whose origin is the bottom left corner."""

    def __init__(self, document: Canvas, part: Part, scale: float) -> None:
        self.document, self.scale, self.height = document, scale, part.height
        document.setPageSize((part.width * scale, part.height * scale))
        self.fill(Box(0, 0, part.width, part.height), PAPER)
        pictures = sum(c.box.width * c.box.height for c in part.cells if c.image) or 1
        self.density = min(2.0, max(1.0, (_PDF_PIXELS / pictures) ** 0.5))

    def fill(self, box: Box, color: str) -> None:
        self.document.setFillColor(color)
        x, y, width, height = self._placed(box)
        self.document.rect(x, y, width, height, stroke=0, fill=1)

    def picture(self, box: Box, image: Image.Image) -> None:
        data = io.BytesIO()
        image.save(data, "JPEG", quality=88, subsampling="4:4:4", optimize=True)
        data.seek(0)
        x, y, width, height = self._placed(box)
        self.document.drawImage(ImageReader(data), x, y, width, height)

    def text(self, text: Text) -> None:
        self.document.setFillColor(INK[text.role])
        self.document.setFont(pdf_font(text.bold), text.size * self.scale)
        for number, line in enumerate(text.lines):
            y = text.box.y + number * line_height(text.size) + baseline(text.size)
            self.document.drawString(text.box.x * self.scale, (self.height - y) * self.scale, line)

    def _placed(self, box: Box) -> tuple[float, float, float, float]:
        s = self.scale
        return box.x * s, (self.height - box.bottom) * s, box.width * s, box.height * s


Pens = tuple[_Pixels, _Points]


def _draw(part: Part, run_dir: Path, sources: Sources, thumb: int, pens: Pens) -> None:
    for rule in part.rules:
        for pen in pens:
            pen.fill(rule, RULE)
    for head in part.heads:
        _draw_head(head, sources, pens)
    for cell in part.cells:
        _draw_cell(cell, run_dir, thumb, pens)
    for text in part.texts:
        for pen in pens:
            pen.text(text)


def _room(width: int, height: int, pens: Pens) -> tuple[int, int]:
    density = max(pen.density for pen in pens)
    return round(width * density), round(height * density)


def _draw_head(head: Head, sources: Sources, pens: Pens) -> None:
    if head.picture is not None:
        source = sources.get(head.axis, {}).get(head.value)
        try:
            if source is None:
                raise ImageError(f"{head.axis} {head.value}: its picture is not known")
            image = load_source(source, _room(head.picture.width, head.picture.height, pens))
            _place(head.picture, image, pens, align=0)
        except ImageError as error:
            log.warning("contact sheet: %s", error)
            for pen in pens:
                pen.fill(head.picture, BLANK)
    for label in head.labels:
        for pen in pens:
            pen.text(label)


def _draw_cell(cell: Cell, run_dir: Path, thumb: int, pens: Pens) -> None:
    notes = cell.notes
    if cell.image is None:
        for pen in pens:
            pen.fill(cell.box, BLANK if cell.status == "empty" else FLAWED)
    else:
        try:
            image = load(run_dir / cell.image, _room(thumb, thumb, pens))
            _place(cell.box, image, pens, align=0)
        except ImageError as error:
            log.warning("contact sheet: %s", error)
            for pen in pens:
                pen.fill(cell.box, FLAWED)
    for note in notes:
        for pen in pens:
            if cell.image is not None:
                pen.fill(_around(note), FLAWED)
            pen.text(note)


def _around(note: Text) -> Box:
    font = pixel_font(note.size, note.bold)
    width = max(round(font.getlength(line)) for line in note.lines)
    return Box(note.box.x - 3, note.box.y, min(note.box.width, width) + 6, note.box.height)


def _place(box: Box, image: Image.Image, pens: Pens, *, align: float) -> None:
    """Draw a picture as large as its box allows, without changing its shape."""
    scale = min(box.width / image.width, box.height / image.height)
    width = min(box.width, max(1, round(image.width * scale)))
    height = min(box.height, max(1, round(image.height * scale)))
    x = box.x + round((box.width - width) * align)
    for pen in pens:
        pen.picture(Box(x, box.y, width, height), image)
