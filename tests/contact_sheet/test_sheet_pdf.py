"""The PDF writer: what others read in its documents, and what it does not keep in memory."""

from __future__ import annotations

import io
import random
import tracemalloc
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given
from PIL import Image
from pypdf import PdfReader

from nstcore.contact_sheet.page import legible, text_width
from nstcore.contact_sheet.pdf import Document, PdfPage, format_number


def jpeg(color: str, size: tuple[int, int]) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, color).save(data, "JPEG", quality=95)
    return data.getvalue()


def written(*lines: str, title: str = "t") -> bytes:
    file = io.BytesIO()
    document = Document(file, title)
    for line in lines:
        leaf = PdfPage(document, 300, 200, f"about {line}")
        leaf.fill(0, 0, 300, 200, "#faf9f6")
        leaf.text(line, 10.5, 100, 14, "#1f1e1b")
        document.add(leaf)
    document.close()
    return file.getvalue()


def test_text_title_and_outline_can_be_read_by_others() -> None:
    title = "Übung “čeština” \U0001f600 (a\\b)"
    reader = PdfReader(io.BytesIO(written("Dvořák, ß & (x)", "second", title=title)), strict=True)
    assert [page.extract_text() for page in reader.pages] == ["Dvořák, ß & (x)", "second"]
    assert reader.metadata is not None
    assert reader.metadata.title == title
    assert [entry["/Title"] for entry in reader.outline] == [
        "about Dvořák, ß & (x)",
        "about second",
    ]
    assert [reader.get_destination_page_number(entry) for entry in reader.outline] == [0, 1]
    assert reader.pages[0].mediabox.upper_right == (300, 200)


def test_letters_have_the_widths_that_the_layout_counts_with() -> None:
    text = "Hamburgefönstiv 0123456789 ,;=/+-_"
    reader = PdfReader(io.BytesIO(written(text)))
    (font,) = reader.pages[0]["/Resources"]["/Font"].values()
    descendant = font["/DescendantFonts"][0]
    listed = list(descendant["/W"])
    widths = dict(zip(listed[::2], (float(entry[0]) for entry in listed[1::2]), strict=True))
    shown = reader.pages[0].get_contents().get_data().split(b"<")[1].split(b">")[0]
    glyphs = [int(shown[n : n + 4], 16) for n in range(0, len(shown), 4)]
    assert len(glyphs) == len(text)
    size = 100
    printed = sum(widths[glyph] for glyph in glyphs) * size / 1000
    assert printed == pytest.approx(text_width(text, size), abs=len(text))
    program = descendant["/FontDescriptor"]["/FontFile2"]
    assert len(program.get_data()) == program["/Length1"]


@given(st.text(max_size=40).map(legible))
def test_any_legible_text_comes_back(text: str) -> None:
    (page,) = PdfReader(io.BytesIO(written(text))).pages
    assert page.extract_text().split() == text.split()


def test_an_image_is_written_once_and_shown_where_it_is_wanted() -> None:
    file = io.BytesIO()
    document = Document(file, "t")
    number = document.image(jpeg("#c04020", (30, 20)), 30, 20)
    for _ in range(2):
        leaf = PdfPage(document, 300, 200, "p")
        leaf.image(number, 0, 0, 150, 100)
        leaf.image(number, 150, 100, 150, 100)
        document.add(leaf)
    document.close()
    assert file.getvalue().count(b"/Subtype /Image") == 1
    for page in PdfReader(file, strict=True).pages:
        (image,) = page.images
        assert image.image is not None
        assert image.image.size == (30, 20)
        red, green, blue = image.image.getpixel((15, 10))
        assert (abs(red - 0xC0), abs(green - 0x40), abs(blue - 0x20)) < (4, 4, 4)


def test_the_same_document_has_the_same_bytes() -> None:
    assert written("a", "b") == written("a", "b")
    assert written() == written(), "even one without pages"


def test_memory_does_not_grow_with_the_document(tmp_path: Path) -> None:
    picture = random.Random(1).randbytes(1_000_000)  # the writer does not look into it
    with (tmp_path / "large.pdf").open("wb") as file:
        tracemalloc.start()
        document = Document(file, "t")
        for _ in range(40):
            leaf = PdfPage(document, 300, 200, "p")
            leaf.image(document.image(picture, 1000, 1000), 0, 0, 300, 200)
            document.add(leaf)
        document.close()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (tmp_path / "large.pdf").stat().st_size > 40_000_000
    assert peak < 4_000_000


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0001, "0"),
        (1e-9, "0"),
        (12.5, "12.5"),
        (100, "100"),
        (1234567.8912, "1234567.891"),
    ],
)
def test_numbers_have_no_exponent(value: float, text: str) -> None:
    assert format_number(value) == text
