"""What a planned page consists of: boxes with a place and a size, and nothing drawn yet.

All lengths are whole pixels of the PNG, from the top left corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nstcore.contact_sheet.fonts import line_height

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

    def overlaps(self, other: Box) -> bool:
        """Whether the two share a pixel."""
        return (
            self.x < other.right
            and other.x < self.right
            and self.y < other.bottom
            and other.y < self.bottom
        )

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
    bold: bool = False


def text_at(
    x: int,
    y: int,
    width: int,
    lines: list[str],
    size: int,
    role: Role = "ink",
    *,
    bold: bool = False,
) -> Text:
    """Make a text whose box is as tall as its lines."""
    box = Box(x, y, width, len(lines) * line_height(size))
    return Text(box, tuple(lines), size, role, bold)


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
