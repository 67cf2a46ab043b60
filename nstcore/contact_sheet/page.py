"""What a planned page consists of, boxes and texts, and how wide a text is in the font of the sheet.

All lengths are whole pixels of the PNG, from the top left corner. The font is Bitstream Vera, which
comes with reportlab under a free licence: a sheet looks the same on every machine, in the PNG as in
the PDF.
"""

from __future__ import annotations

import bisect
import functools
import math
import re
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import reportlab
from PIL import ImageFont
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

Role = Literal["ink", "muted", "alert"]


@dataclass(frozen=True)
class Box:
    """A rectangle."""

    x: int
    y: int
    width: int
    height: int

    @property
    def bottom(self) -> int:
        """The first row below the box."""
        return self.y + self.height

    def moved(self, down: int) -> Box:
        """The box so many pixels further down."""
        return replace(self, y=self.y + down)


@dataclass(frozen=True)
class Text:
    """Lines of text, wrapped already, flush left in their box."""

    box: Box
    lines: tuple[str, ...]
    size: int
    role: Role = "ink"

    def moved(self, down: int) -> Text:
        """The text so many pixels further down."""
        return replace(self, box=self.box.moved(down))


def text_at(
    x: int, y: int, width: int, text: str, size: int, role: Role = "ink", *, limit: int = 0
) -> Text:
    """Wrap a text to a width (see `wrap`); its box is as tall as its lines."""
    lines = tuple(wrap(text, width, size, limit=limit))
    return Text(Box(x, y, width, len(lines) * line_height(size)), lines, size, role)


@dataclass(frozen=True)
class Header:
    """The header of a row, of a column or of a group of them.

    Attributes:
        axis, value: such as ``style`` and its id.
        span: all that the header may cover: its labels and its image lie inside.
        image: where the source image goes, for a style or a content.
        labels: the texts.
    """

    axis: str
    value: str
    span: Box
    image: Box | None
    labels: tuple[Text, ...]

    @property
    def image_height(self) -> int:
        """Height of the image; 0 without one."""
        return self.image.height if self.image else 0

    def placed(self, span: Box, down: int) -> Header:
        """The header in another span, with everything in it so many pixels further down."""
        image = self.image and self.image.moved(down)
        return replace(
            self, span=span, image=image, labels=tuple(t.moved(down) for t in self.labels)
        )


@dataclass(frozen=True)
class SheetCell:
    """The place of one combination.

    Attributes:
        status: ``ok``, ``diverged``, ``failed``, ``missing``, or ``empty`` where the grid has no
            cell.
        image: the image to show, relative to the run folder, or None.
        notes: the reason where there is no image, a tag where there is one with a flaw.
    """

    box: Box
    status: str
    image: str | None
    notes: tuple[Text, ...] = ()


@dataclass(frozen=True)
class Part:
    """One page of the PDF; a page has several parts only where it would grow too large."""

    width: int
    height: int
    texts: tuple[Text, ...]
    headers: tuple[Header, ...]
    cells: tuple[SheetCell, ...]
    rules: tuple[Box, ...]


@dataclass(frozen=True)
class Page:
    """One contact sheet.

    Attributes:
        name: safe as a file name, from the page axes' values.
        title: the text at its head.
        thumb: longest side of an image in pixels, after any shrinking.
        max_side: the longest side that a PNG of it may have.
        parts: at least one.
    """

    name: str
    title: str
    thumb: int
    max_side: int
    parts: tuple[Part, ...]


# --- Text in the font of the sheet ---

LEADING = 1.32
"""Distance between base lines, in units of the font size."""

_ASCENT, _DESCENT = 0.928, 0.236  # of Vera, in units of the font size

FONT_FILE = Path(reportlab.__file__).parent / "fonts" / "Vera.ttf"

_FONT_NAME = "Sheet"


@functools.cache
def font_face() -> Any:
    """The font as reportlab read it: the glyph and the width of every letter, and its measures."""
    pdfmetrics.registerFont(TTFont(_FONT_NAME, str(FONT_FILE)))
    return pdfmetrics.getFont(_FONT_NAME).face


@functools.lru_cache(maxsize=128)
def pixel_font(size: int) -> ImageFont.FreeTypeFont:
    """The font for drawing in an image, ``size`` pixels tall."""
    layout = ImageFont.Layout.BASIC
    return ImageFont.truetype(str(FONT_FILE), size, layout_engine=layout)


@functools.lru_cache(maxsize=100_000)
def text_width(text: str, size: int) -> int:
    """Width of one line in pixels: the larger of what the PNG and what the PDF will need."""
    font_face()  # registers the font with reportlab
    drawn = pixel_font(size).getlength(text)
    printed = float(pdfmetrics.stringWidth(text, _FONT_NAME, size))
    return math.ceil(max(drawn, printed))


def line_height(size: int) -> int:
    """Distance from one base line to the next, in pixels."""
    return math.ceil(size * LEADING)


def baseline(size: int) -> float:
    """Distance from the top of a line to its base line, in pixels."""
    return (line_height(size) - (_ASCENT + _DESCENT) * size) / 2 + _ASCENT * size


@functools.lru_cache(maxsize=20_000)
def legible(text: str) -> str:
    """Replace what the font cannot show: by the bare letter where there is one, else by "?".

    Control characters, line ends and all kinds of blanks become spaces.
    """
    if text.isascii() and text.isprintable():
        return text
    known = font_face().charToGlyph
    out = []
    for char in unicodedata.normalize("NFC", text):
        if unicodedata.category(char) in ("Cc", "Zl", "Zp", "Zs"):
            out.append(" ")
        elif ord(char) in known and char.isprintable():
            out.append(char)
        elif not unicodedata.category(char).startswith(("M", "Cf", "Cs")):
            bare = unicodedata.normalize("NFKD", char)
            kept = "".join(part for part in bare if ord(part) in known)
            out.append(kept or "?")
    return "".join(out)


def wrap(text: str, width: int, size: int, *, limit: int = 0) -> list[str]:
    """Break ``text`` into lines that are at most ``width`` pixels wide.

    Lines break after a blank, an underscore, a comma, a hyphen and the like; a piece that is wider
    than the line by itself is broken between letters.

    Args:
        text: any text; what the font cannot show is replaced.
        width, size: room and font size in pixels.
        limit: the most lines to give, the last of them then ending in an ellipsis; 0 for any.

    Returns:
        The lines, at least one, none with a blank at an end.
    """
    lines: list[str] = []
    line = ""
    for piece in re.findall(r"[^\s_,;=/+\-]*[_,;=/+\-]+|[^\s_,;=/+\-]+|\s+", legible(text)):
        if text_width((line + piece).rstrip(), size) <= width:
            line += piece
            continue
        if line.strip():
            lines.append(line.strip())
        line = piece.lstrip()
        while text_width(line.rstrip(), size) > width and len(line) > 1:
            cut = _letters_that_fit(line, width, size)
            lines.append(line[:cut])
            line = line[cut:]
    if line.strip() or not lines:
        lines.append(line.strip())
    if limit and len(lines) > limit:
        lines = lines[:limit]
        last = lines[-1]
        while last and text_width(last + "…", size) > width:
            last = last[:-1]
        lines[-1] = last.rstrip() + "…"
    return lines


def _letters_that_fit(line: str, width: int, size: int) -> int:
    """How many letters of a line that is too long fit into the width, at least one."""
    fits = bisect.bisect(range(len(line)), width, key=lambda count: text_width(line[:count], size))
    return max(1, fits - 1)
