"""The headers of a contact sheet's rows and columns: source images and wrapped labels.

A header is built first (what it holds and how tall that is) and placed afterwards, when the rows and
columns have their sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nstcore.contact_sheet.axes import Key, Titles, groups, shown
from nstcore.contact_sheet.page import Box, Header, Text, line_height, text_at, text_width, wrap
from nstcore.plan.values import INPUT_AXES

Size = tuple[int, int]
Sizes = Mapping[tuple[str, str], Size]
"""Width and height of the images of styles and contents, by axis and id."""

_SMALLEST_LABEL, _SMALLEST_NAME = 11, 9  # pixels


@dataclass(frozen=True)
class Dimensions:
    """Distances and font sizes that go with a size of the images, in pixels; lines of a label."""

    thumb: int
    label: int
    small: int
    gap: int
    group_gap: int
    pad: int
    margin: int
    lines: int

    @classmethod
    def of(cls, thumb: int, count: int, tallest: int) -> Dimensions:
        """Choose them for images whose longer side is ``thumb``, ``count`` of them in a line.

        The lettering grows with the number of images, since a large sheet is looked at from
        further away.  A label has at most ``lines`` lines, so that in the smallest lettering it is no
        taller, with the name of its axis, than ``tallest``: more than a name of sixty letters needs,
        but there may be whole paragraphs.
        """
        label = max(
            _SMALLEST_LABEL, round(min(thumb / 9, thumb / 16 * (1 + 0.06 * max(0, count - 4))))
        )
        gap = max(4, round(thumb / 24))
        margin = min(72, max(32, round(thumb / 4)))
        small = max(_SMALLEST_NAME, round(label * 0.8))
        lines = max(2, tallest // (line_height(_SMALLEST_LABEL) + line_height(_SMALLEST_NAME)))
        return cls(thumb, label, small, gap, 3 * gap, max(3, gap // 2), margin, lines)


@dataclass(frozen=True)
class HeaderContent:
    """A header before it has a place.

    Attributes:
        axis: its axis.
        value: the axis's value here.
        image: width and height of its source image, or None.
        name: the wrapped name of the axis, where no image shows it.
        label: the wrapped value.
        height: of all this together.
    """

    axis: str
    value: str
    image: Size | None
    name: list[str]
    label: list[str]
    height: int

    @property
    def image_height(self) -> int:
        """Height of the image; 0 without one."""
        return self.image[1] if self.image else 0


RowHeaders = Sequence[Sequence[tuple[int, int, HeaderContent]]]
"""For each level of the rows: first row, row behind the last one, and the header of this group."""


def fit_within(size: Size, width: int, height: int) -> Size:
    """The largest size of the same shape within ``width`` × ``height``."""
    scale = min(width / size[0], height / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def positions(
    sizes: Sequence[int], keys: Sequence[Key], start: int, m: Dimensions
) -> tuple[list[int], int]:
    """Where each row or column starts and where the last one ends; groups stand further apart."""
    outer = {first for first, _ in groups(keys, 0)} if keys and len(keys[0]) > 1 else set()
    places, at = [], start
    for number, size in enumerate(sizes):
        if number:
            at += m.group_gap if number in outer else m.gap
        places.append(at)
        at += size
    return places, at


def build_header(
    axis: str,
    value: str,
    width: int,
    tallest: int,
    sizes: Sizes,
    m: Dimensions,
    titles: Titles,
) -> HeaderContent:
    """Size the image and wrap the labels of one header that is ``width`` wide."""
    if axis in INPUT_AXES:
        size = fit_within(sizes.get((axis, value), (4, 3)), min(width, m.thumb), tallest)
        label = wrap(value, width, m.label, limit=m.lines)
        height = size[1] + m.pad + len(label) * line_height(m.label)
        return HeaderContent(axis, value, size, [], label, height)
    name = wrap(axis, width, m.small, limit=m.lines)
    label = wrap(shown(titles, axis, value), width, m.label, limit=m.lines)
    height = len(name) * line_height(m.small) + len(label) * line_height(m.label)
    return HeaderContent(axis, value, None, name, label, height)


def place_header(block: HeaderContent, span: Box, standing: int, m: Dimensions) -> Header:
    """Give a header its place: the image stands on ``standing``, the labels come below it."""
    image = None
    y = span.y
    labels: list[Text] = []
    if block.image is not None:
        width, height = block.image
        image = Box(span.x, standing - height, width, height)
        y = standing + m.pad
    if block.name:
        labels.append(text_at(span.x, y, span.width, block.name, m.small, "muted"))
        y = labels[-1].box.bottom
    labels.append(text_at(span.x, y, span.width, block.label, m.label))
    return Header(block.axis, block.value, span, image, tuple(labels))


def column_headers(
    axes: Sequence[str],
    cols: Sequence[Key],
    lefts: Sequence[int],
    widths: Sequence[int],
    y: int,
    sizes: Sizes,
    m: Dimensions,
    titles: Titles,
) -> tuple[list[Header], list[Box], int]:
    """Place the headers of all levels of the columns from ``y`` downwards.

    Returns:
        The headers, a thin rule below each one that spans a group, and where the next thing may
        begin.
    """
    headers: list[Header] = []
    rules: list[Box] = []
    for level, axis in enumerate(axes):
        if axis in INPUT_AXES:
            y += line_height(m.small) + m.pad  # the axis title's own line
        blocks, spans = [], []
        for start, stop in groups(cols, level):
            left, right = lefts[start], lefts[stop - 1] + widths[stop - 1]
            width, tallest = right - left, round(m.thumb * 0.7)
            blocks.append(build_header(axis, cols[start][level], width, tallest, sizes, m, titles))
            spans.append((left, width))
        tall = max(block.image_height for block in blocks)
        below = max(block.height - block.image_height for block in blocks)
        for block, (left, width) in zip(blocks, spans, strict=True):
            headers.append(place_header(block, Box(left, y, width, tall + below), y + tall, m))
        y += tall + below + m.gap
        if level < len(axes) - 1:
            rules += [Box(left, y - m.gap // 2, width, 1) for left, width in spans]
            y += m.gap // 2
    return headers, rules, y


def column_titles(headers: Sequence[Header], left: int, width: int, m: Dimensions) -> list[Text]:
    """The titles of the axes with images among the columns, each above its headers."""
    titles = []
    for axis in INPUT_AXES:
        tops = [header.span.y for header in headers if header.axis == axis]
        if tops:
            y = tops[0] - line_height(m.small) - m.pad
            line = wrap(axis.upper(), width, m.small, limit=1)
            titles.append(text_at(left, y, width, line, m.small, "muted"))
    return titles


def side_widths(
    axes: Sequence[str],
    rows: Sequence[Key],
    m: Dimensions,
    titles: Titles,
) -> list[int]:
    """Width of each level of the rows' headers."""
    widths = []
    for level, axis in enumerate(axes):
        labels = {shown(titles, axis, row[level]) for row in rows}
        longest = max((text_width(label, m.label) for label in labels), default=0)
        if axis in INPUT_AXES:
            title = text_width(axis.upper(), m.small)
            widths.append(max(round(m.thumb * 0.7), title, min(longest, 10 * m.label)))
        else:
            longest = max(longest, text_width(axis, m.small))
            widths.append(min(longest, max(m.thumb, 10 * m.label)))
    return widths


def side_titles(
    axes: Sequence[str], side: Sequence[int], top: int, bottom: int, m: Dimensions
) -> tuple[list[Text], int]:
    """The titles of the axes with images among the rows, standing on the rule at ``bottom``.

    Returns:
        The titles, and where the rule must go for them to fit below ``top``.
    """
    wrapped = [
        wrap(axis.upper(), width, m.small) if axis in INPUT_AXES else []
        for axis, width in zip(axes, side, strict=True)
    ]
    tall = max((len(lines) * line_height(m.small) for lines in wrapped), default=0)
    bottom = max(bottom, top + tall + m.gap)
    titles, x = [], m.margin
    for lines, width in zip(wrapped, side, strict=True):
        if lines:
            y = bottom - m.gap - len(lines) * line_height(m.small)
            titles.append(text_at(x, y, width, lines, m.small, "muted"))
        x += width + m.gap
    return titles, bottom


def build_row_headers(
    axes: Sequence[str],
    rows: Sequence[Key],
    side: Sequence[int],
    sizes: Sizes,
    m: Dimensions,
    titles: Titles,
) -> RowHeaders:
    """Build the headers of all levels of the rows."""
    tallest = round(m.thumb * 0.7)
    return [
        [
            (start, stop, build_header(axis, rows[start][level], width, tallest, sizes, m, titles))
            for start, stop in groups(rows, level)
        ]
        for level, (axis, width) in enumerate(zip(axes, side, strict=True))
    ]


def stretch_rows(
    heights: Sequence[int], rows: Sequence[Key], blocks: RowHeaders, m: Dimensions
) -> list[int]:
    """Make rows taller, innermost level first, until every header fits beside its rows."""
    heights = list(heights)
    for level in reversed(blocks):
        for start, stop, block in level:
            _, bottom = positions(heights[start:stop], rows[start:stop], 0, m)
            for number in range(max(0, block.height - bottom)):
                heights[start + number % (stop - start)] += 1
    return heights


def place_row_headers(
    blocks: RowHeaders,
    tops: Sequence[int],
    heights: Sequence[int],
    side: Sequence[int],
    m: Dimensions,
) -> list[Header]:
    """Place the headers of the rows, each beside the top of its rows."""
    headers, x = [], m.margin
    for level, width in zip(blocks, side, strict=True):
        for start, stop, block in level:
            top, bottom = tops[start], tops[stop - 1] + heights[stop - 1]
            span = Box(x, top, width, bottom - top)
            headers.append(place_header(block, span, top + block.image_height, m))
        x += width + m.gap
    return headers
