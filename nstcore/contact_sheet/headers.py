"""The headers of a contact sheet's rows and columns: source images and wrapped labels.

A header is built first (what it holds and how tall that is) and placed afterwards, when the rows and
columns have their sizes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nstcore.contact_sheet.axes import Key, Titles, groups, shown
from nstcore.contact_sheet.page import (
    Box,
    Header,
    Role,
    Text,
    line_height,
    text_at,
    text_width,
)
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

    def build(self, axis: str, value: str, x: int, y: int, width: int) -> Header:
        """Size the image and wrap the labels of one header that is ``width`` wide."""
        m, image, below = self.m, None, y
        if axis in INPUT_AXES:
            native = self.sizes.get((axis, value), (4, 3))
            image = Box(x, y, *fit_within(native, min(width, m.thumb), self.tallest_image))
            below = image.bottom + m.pad
            texts: list[tuple[str, int, Role]] = [(value, m.label, "ink")]
        else:
            label = shown(self.titles, axis, value)
            texts = [(axis, m.small, "muted"), (label, m.label, "ink")]
        labels: list[Text] = []
        for text, size, role in texts:
            labels.append(text_at(x, below, width, text, size, role, limit=m.lines))
            below = labels[-1].box.bottom
        return Header(axis, value, Box(x, y, width, below - y), image, tuple(labels))

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
            spans = [
                (
                    lefts[start],
                    lefts[stop - 1] + widths[stop - 1] - lefts[start],
                    cols[start][level],
                )
                for start, stop in groups(cols, level)
            ]
            built = [self.build(axis, value, left, y, width) for left, width, value in spans]
            tall = max(header.image_height for header in built)
            height = tall + max(header.span.height - header.image_height for header in built)
            headers += [
                header.placed(
                    Box(header.span.x, y, header.span.width, height), tall - header.image_height
                )
                for header in built
            ]
            y += height + m.gap
            if level < len(axes) - 1:
                rules += [Box(left, y - m.gap // 2, width, 1) for left, width, _ in spans]
                y += m.gap // 2
        return headers, rules, y

    def column_titles(self, headers: Sequence[Header], left: int, width: int) -> list[Text]:
        """The titles of the axes with images among the columns, each above its headers."""
        size, titles = self.m.small, []
        for axis in INPUT_AXES:
            tops = [header.span.y for header in headers if header.axis == axis]
            if tops:
                y = tops[0] - line_height(size) - self.m.pad
                titles.append(text_at(left, y, width, axis.upper(), size, "muted", limit=1))
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
        titles, x = [], self.m.margin
        for axis, width in zip(axes, side, strict=True):
            if axis in INPUT_AXES:
                titles.append(text_at(x, 0, width, axis.upper(), self.m.small, "muted"))
            x += width + self.m.gap
        tall = max((title.box.height for title in titles), default=0)
        bottom = max(bottom, top + tall + self.m.gap)
        return [t.moved(bottom - self.m.gap - t.box.height) for t in titles], bottom

    def rows(
        self,
        axes: Sequence[str],
        rows: Sequence[Key],
        side: Sequence[int],
        heights: Sequence[int],
        y: int,
    ) -> tuple[list[Header], list[int], list[int], int]:
        """Place the headers of all levels of the rows from ``y`` downwards, each beside its rows.

        Returns:
            The headers; where each row starts; the heights of the rows, which grow, innermost level
            first, until every header fits beside its rows; and where the last row ends.
        """
        heights, levels, x = list(heights), [], self.m.margin
        for level, (axis, width) in enumerate(zip(axes, side, strict=True)):
            spans = groups(rows, level)
            levels.append([(*o, self.build(axis, rows[o[0]][level], x, 0, width)) for o in spans])
            x += width + self.m.gap
        for start, stop, header in itertools.chain.from_iterable(reversed(levels)):
            _, bottom = positions(heights[start:stop], rows[start:stop], 0, self.m)
            for number in range(max(0, header.span.height - bottom)):
                heights[start + number % (stop - start)] += 1
        tops, end = positions(heights, rows, y, self.m)
        headers = []
        for start, stop, header in itertools.chain.from_iterable(levels):
            tall = tops[stop - 1] + heights[stop - 1] - tops[start]
            span = Box(header.span.x, tops[start], header.span.width, tall)
            headers.append(header.placed(span, tops[start]))
        return headers, tops, heights, end
