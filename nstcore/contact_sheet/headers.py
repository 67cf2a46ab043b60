"""The heads of a contact sheet's rows and columns: source pictures and wrapped labels.

A head is built first (what it holds and how tall that is) and placed afterwards, when the rows and
columns have their sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from nstcore.contact_sheet.axes import Key, Titles, groups, shown
from nstcore.contact_sheet.page import Box, Header, Text, line_height, text_at, text_width, wrap
from nstcore.plan.values import INPUT_AXES

Size = tuple[int, int]
Sizes = Mapping[tuple[str, str], Size]
"""Width and height of the pictures of styles and contents, by axis and id."""


_SMALLEST_LABEL, _SMALLEST_NAME = 11, 9  # pixels


@dataclass(frozen=True)
class Dimensions:
    """Distances and font sizes that go with a size of the pictures, in pixels; lines of a label."""

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
        """Choose them for pictures whose longer side is ``thumb``, ``count`` of them in a line.

        The lettering grows with the number of pictures, since a large sheet is looked at from
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
    """A head before it has a place.

    Attributes:
        axis: its axis.
        value: the axis's value here.
        picture: width and height of its source picture, or None.
        name: the wrapped name of the axis, where there is no picture to tell.
        label: the wrapped value.
        height: of all this together.
    """

    axis: str
    value: str
    picture: Size | None
    name: list[str]
    label: list[str]
    height: int


RowHeaders = Sequence[Sequence[tuple[int, int, HeaderContent]]]
"""For each level of the rows: first row, row behind the last one, and the head of this group."""


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
    titles: Titles = MappingProxyType({}),
) -> HeaderContent:
    """Size the picture and wrap the labels of one head that is ``width`` wide."""
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
    """Give a head its place: the picture stands on ``standing``, the labels come below it."""
    picture = None
    y = span.y
    labels: list[Text] = []
    if block.picture is not None:
        width, height = block.picture
        picture = Box(span.x, standing - height, width, height)
        y = standing + m.pad
    if block.name:
        labels.append(text_at(span.x, y, span.width, block.name, m.small, "muted"))
        y = labels[-1].box.bottom
    labels.append(text_at(span.x, y, span.width, block.label, m.label))
    return Header(block.axis, block.value, span, picture, tuple(labels))


def column_headers(
    axes: Sequence[str],
    cols: Sequence[Key],
    lefts: Sequence[int],
    widths: Sequence[int],
    y: int,
    sizes: Sizes,
    m: Dimensions,
    titles: Titles = MappingProxyType({}),
) -> tuple[list[Header], list[Box], int]:
    """Place the heads of all levels of the columns from ``y`` downwards.

    Returns:
        The heads, a thin rule below each head that spans a group, and where the next thing may
        begin.
    """
    heads: list[Header] = []
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
        tall = max(block.picture[1] if block.picture else 0 for block in blocks)
        below = max(block.height - (block.picture[1] if block.picture else 0) for block in blocks)
        for block, (left, width) in zip(blocks, spans, strict=True):
            heads.append(place_header(block, Box(left, y, width, tall + below), y + tall, m))
        y += tall + below + m.gap
        if level < len(axes) - 1:
            rules += [Box(left, y - m.gap // 2, width, 1) for left, width in spans]
            y += m.gap // 2
    return heads, rules, y


def column_titles(heads: Sequence[Header], left: int, width: int, m: Dimensions) -> list[Text]:
    """The titles of the picture axes among the columns, each above its heads."""
    titles = []
    for axis in INPUT_AXES:
        tops = [head.span.y for head in heads if head.axis == axis]
        if tops:
            y = tops[0] - line_height(m.small) - m.pad
            line = wrap(axis.upper(), width, m.small, limit=1)
            titles.append(text_at(left, y, width, line, m.small, "muted"))
    return titles


def side_widths(
    axes: Sequence[str],
    rows: Sequence[Key],
    m: Dimensions,
    titles: Titles = MappingProxyType({}),
) -> list[int]:
    """Width of each level of the rows' heads."""
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
    """The titles of the picture axes among the rows, standing on the rule at ``bottom``.

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
    titles: Titles = MappingProxyType({}),
) -> RowHeaders:
    """Build the heads of all levels of the rows."""
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
    """Make rows taller, innermost level first, until every head fits beside its rows."""
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
    """Place the heads of the rows, each beside the top of its rows."""
    heads, x = [], m.margin
    for level, width in zip(blocks, side, strict=True):
        for start, stop, block in level:
            top, bottom = tops[start], tops[stop - 1] + heights[stop - 1]
            standing = top + (block.picture[1] if block.picture else 0)
            heads.append(place_header(block, Box(x, top, width, bottom - top), standing, m))
        x += width + m.gap
    return heads
