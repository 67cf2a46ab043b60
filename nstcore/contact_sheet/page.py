"""What a planned page consists of, boxes and texts, and how wide a text is in the font of the sheet.

All lengths are whole pixels of the PNG, from the top left corner. The font is Bitstream Vera, which
comes with reportlab under a free licence: a sheet looks the same on every machine, in the PNG as in
the PDF.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from dataclasses import dataclass
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
    def right(self) -> int:
        """The first column behind the box."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """The first row below the box."""
        return self.y + self.height

    def inside(self, other: Box) -> bool:
        """Whether no pixel of this box lies outside ``other``."""
        return (
            other.x <= self.x
            and other.y <= self.y
            and self.right <= other.right
            and self.bottom <= other.bottom
        )


@dataclass(frozen=True)
class Text:
    """Lines of text, wrapped already, flush left in their box."""

    box: Box
    lines: tuple[str, ...]
    size: int
    role: Role = "ink"


def text_at(
    x: int,
    y: int,
    width: int,
    lines: list[str],
    size: int,
    role: Role = "ink",
) -> Text:
    """Make a text whose box is as tall as its lines."""
    box = Box(x, y, width, len(lines) * line_height(size))
    return Text(box, tuple(lines), size, role)


@dataclass(frozen=True)
class Header:
    """The head of a row, of a column or of a group of them.

    Attributes:
        axis: the axis, such as ``style``.
        value: its value here as text, such as the id of a style.
        span: all that the head may cover: its own labels and pictures lie inside.
        picture: where the source picture goes, for a style or a content.
        labels: the texts.
    """

    axis: str
    value: str
    span: Box
    picture: Box | None
    labels: tuple[Text, ...]


@dataclass(frozen=True)
class SheetCell:
    """The place of one combination.

    Attributes:
        box: the place.
        status: ``ok``, ``diverged``, ``failed``, ``missing``, or ``empty`` where the grid has no
            such cell.
        image: the picture to show, relative to the run folder, or None.
        notes: the reason where there is no picture, a tag where there is one with a flaw.
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
    heads: tuple[Header, ...]
    cells: tuple[SheetCell, ...]
    rules: tuple[Box, ...]


@dataclass(frozen=True)
class Page:
    """One contact sheet.

    Attributes:
        name: safe as a file name, from the page axes' values.
        title: the text at its head.
        thumb: longest side of a picture in pixels, after any shrinking.
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
_FILES = {False: "Vera.ttf", True: "VeraBd.ttf"}


def font_file(bold: bool) -> Path:
    """The font's file, a TrueType font."""
    return Path(reportlab.__file__).parent / "fonts" / _FILES[bold]


@functools.cache
def pdf_font(bold: bool) -> str:
    """Register the font with reportlab and return its name there."""
    name = "Sheet-Bold" if bold else "Sheet"
    pdfmetrics.registerFont(TTFont(name, str(font_file(bold))))
    return name


def font_face(bold: bool) -> Any:
    """The font as reportlab read it: the glyph and the width of every letter, and its measures."""
    return pdfmetrics.getFont(pdf_font(bold)).face


@functools.lru_cache(maxsize=128)
def pixel_font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """The font for drawing in a picture, ``size`` pixels tall."""
    layout = ImageFont.Layout.BASIC
    return ImageFont.truetype(str(font_file(bold)), size, layout_engine=layout)


@functools.lru_cache(maxsize=100_000)
def text_width(text: str, size: int, bold: bool = False) -> int:
    """Width of one line in pixels: the larger of what the PNG and what the PDF will need."""
    drawn = pixel_font(size, bold).getlength(text)
    printed = float(pdfmetrics.stringWidth(text, pdf_font(bold), size))
    return math.ceil(max(drawn, printed))


def line_height(size: int) -> int:
    """Distance from one base line to the next, in pixels."""
    return math.ceil(size * LEADING)


def baseline(size: int) -> float:
    """Distance from the top of a line to its base line, in pixels."""
    return (line_height(size) - (_ASCENT + _DESCENT) * size) / 2 + _ASCENT * size


@functools.cache
def _known() -> frozenset[int]:
    return frozenset(font_face(False).charToGlyph)


@functools.lru_cache(maxsize=20_000)
def legible(text: str) -> str:
    """Replace what the font cannot show: by the bare letter where there is one, else by "?".

    Control characters, line ends and all kinds of blanks become spaces.
    """
    if text.isascii() and text.isprintable():
        return text
    out = []
    for char in unicodedata.normalize("NFC", text):
        if unicodedata.category(char) in ("Cc", "Zl", "Zp", "Zs"):
            out.append(" ")
        elif ord(char) in _known() and char.isprintable():
            out.append(char)
        elif not unicodedata.category(char).startswith(("M", "Cf", "Cs")):
            bare = unicodedata.normalize("NFKD", char)
            kept = "".join(part for part in bare if ord(part) in _known())
            out.append(kept or "?")
    return "".join(out)


def wrap(text: str, width: int, size: int, *, bold: bool = False, limit: int = 0) -> list[str]:
    """Break ``text`` into lines that are at most ``width`` pixels wide.

    Lines break after a blank, an underscore, a comma, a hyphen and the like; a piece that is wider
    than the line by itself is broken between letters.

    Args:
        text: any text; what the font cannot show is replaced.
        width: room in pixels.
        size: font size in pixels.
        bold: whether the bold font is used.
        limit: the most lines to give, the last of them then ending in an ellipsis; 0 for any.

    Returns:
        The lines, at least one, none with a blank at an end.
    """
    lines: list[str] = []
    line = ""
    for piece in re.findall(r"[^\s_,;=/+\-]*[_,;=/+\-]+|[^\s_,;=/+\-]+|\s+", legible(text)):
        if text_width((line + piece).rstrip(), size, bold) <= width:
            line += piece
            continue
        if line.strip():
            lines.append(line.strip())
        line = piece.lstrip()
        while text_width(line.rstrip(), size, bold) > width and len(line) > 1:
            cut = _longest(line, width, size, bold)
            lines.append(line[:cut])
            line = line[cut:]
    if line.strip() or not lines:
        lines.append(line.strip())
    if limit and len(lines) > limit:
        lines = lines[:limit]
        last = lines[-1]
        while last and text_width(last + "…", size, bold) > width:
            last = last[:-1]
        lines[-1] = last.rstrip() + "…"
    return lines


def _longest(line: str, width: int, size: int, bold: bool) -> int:
    low, high = 1, len(line)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(line[:middle], size, bold) <= width:
            low = middle
        else:
            high = middle - 1
    return low
