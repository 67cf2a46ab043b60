"""The headers of a contact sheet's rows and columns: source images and wrapped labels.

A header is built first (what it holds and how tall that is) and placed afterwards, when the rows and
columns have their sizes.
"""

from __future__ import annotations

import itertools
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
        axis, value: what it stands for.
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


@dataclass(frozen=True)
class HeaderBuilder:
    """Builds the headers of a page and gives them their places.

    Attributes:
        m: the page's dimensions.
        sizes: of the source images; 4 x 3 where unknown.
        titles: what is shown in place of values.
    """

    m: Dimensions
    sizes: Sizes
    titles: Titles

    @property
    def tallest_image(self) -> int:
        """The most pixels that the image of a header is tall."""
        return round(self.m.thumb * 0.7)

    def build(self, axis: str, value: str, width: int) -> HeaderContent:
        """Size the image and wrap the labels of one header that is ``width`` wide."""
        m = self.m
        if axis in INPUT_AXES:
            native = self.sizes.get((axis, value), (4, 3))
            size = fit_within(native, min(width, m.thumb), self.tallest_image)
            label = wrap(value, width, m.label, limit=m.lines)
            height = size[1] + m.pad + len(label) * line_height(m.label)
            return HeaderContent(axis, value, size, [], label, height)
        name = wrap(axis, width, m.small, limit=m.lines)
        label = wrap(shown(self.titles, axis, value), width, m.label, limit=m.lines)
        height = len(name) * line_height(m.small) + len(label) * line_height(m.label)
        return HeaderContent(axis, value, None, name, label, height)

    def place(self, block: HeaderContent, span: Box, base: int) -> Header:
        """Give a header its place: the image stands on ``base``, the labels come below it."""
        m, image, y = self.m, None, span.y
        labels: list[Text] = []
        if block.image is not None:
            width, height = block.image
            image = Box(span.x, base - height, width, height)
            y = base + m.pad
        if block.name:
            labels.append(text_at(span.x, y, span.width, block.name, m.small, "muted"))
            y = labels[-1].box.bottom
        labels.append(text_at(span.x, y, span.width, block.label, m.label))
        return Header(block.axis, block.value, span, image, tuple(labels))

    def columns(
        self,
        axes: Sequence[str],
        cols: Sequence[Key],
        lefts: Sequence[int],
        widths: Sequence[int],
        y: int,
    ) -> tuple[list[Header], list[Box], int]:
        """Place the headers of all levels of the columns from ``y`` downwards.

        Returns:
            The headers, a thin rule below each one that spans a group, and where the next thing may
            begin.
        """
        m = self.m
        headers: list[Header] = []
        rules: list[Box] = []
        for level, axis in enumerate(axes):
            if axis in INPUT_AXES:
                y += line_height(m.small) + m.pad  # the axis title's own line
            spans, blocks = [], []
            for start, stop in groups(cols, level):
                spans.append((lefts[start], lefts[stop - 1] + widths[stop - 1] - lefts[start]))
                blocks.append(self.build(axis, cols[start][level], spans[-1][1]))
            tall = max(block.image_height for block in blocks)
            height = tall + max(block.height - block.image_height for block in blocks)
            for block, (left, width) in zip(blocks, spans, strict=True):
                headers.append(self.place(block, Box(left, y, width, height), y + tall))
            y += height + m.gap
            if level < len(axes) - 1:
                rules += [Box(left, y - m.gap // 2, width, 1) for left, width in spans]
                y += m.gap // 2
        return headers, rules, y

    def column_titles(self, headers: Sequence[Header], left: int, width: int) -> list[Text]:
        """The titles of the axes with images among the columns, each above its headers."""
        size, titles = self.m.small, []
        for axis in INPUT_AXES:
            tops = [header.span.y for header in headers if header.axis == axis]
            if tops:
                y = tops[0] - line_height(size) - self.m.pad
                line = wrap(axis.upper(), width, size, limit=1)
                titles.append(text_at(left, y, width, line, size, "muted"))
        return titles

    def side_widths(self, axes: Sequence[str], rows: Sequence[Key]) -> list[int]:
        """Width of each level of the rows' headers."""
        m, widths = self.m, []
        for level, axis in enumerate(axes):
            labels = {shown(self.titles, axis, row[level]) for row in rows}
            longest = max((text_width(label, m.label) for label in labels), default=0)
            if axis in INPUT_AXES:
                title = text_width(axis.upper(), m.small)
                widths.append(max(self.tallest_image, title, min(longest, 10 * m.label)))
            else:
                longest = max(longest, text_width(axis, m.small))
                widths.append(min(longest, max(m.thumb, 10 * m.label)))
        return widths

    def side_titles(
        self, axes: Sequence[str], side: Sequence[int], top: int, bottom: int
    ) -> tuple[list[Text], int]:
        """The titles of the axes with images among the rows, standing on the rule at ``bottom``.

        Returns:
            The titles, and where the rule must go for them to fit below ``top``.
        """
        m = self.m
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

    def rows(self, axes: Sequence[str], rows: Sequence[Key], side: Sequence[int]) -> RowHeaders:
        """Build the headers of all levels of the rows."""
        return [
            [
                (start, stop, self.build(axis, rows[start][level], width))
                for start, stop in groups(rows, level)
            ]
            for level, (axis, width) in enumerate(zip(axes, side, strict=True))
        ]

    def stretch_rows(
        self, heights: Sequence[int], rows: Sequence[Key], blocks: RowHeaders
    ) -> list[int]:
        """Make rows taller, innermost level first, until every header fits beside its rows."""
        heights = list(heights)
        for start, stop, block in itertools.chain.from_iterable(reversed(blocks)):
            _, bottom = positions(heights[start:stop], rows[start:stop], 0, self.m)
            for number in range(max(0, block.height - bottom)):
                heights[start + number % (stop - start)] += 1
        return heights

    def place_rows(
        self,
        blocks: RowHeaders,
        tops: Sequence[int],
        heights: Sequence[int],
        side: Sequence[int],
    ) -> list[Header]:
        """Place the headers of the rows, each beside the top of its rows."""
        headers, x = [], self.m.margin
        for level, width in zip(blocks, side, strict=True):
            for start, stop, block in level:
                top, bottom = tops[start], tops[stop - 1] + heights[stop - 1]
                span = Box(x, top, width, bottom - top)
                headers.append(self.place(block, span, top + block.image_height))
            x += width + self.m.gap
        return headers
