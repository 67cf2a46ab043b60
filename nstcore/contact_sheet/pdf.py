"""A PDF writer that writes while it draws, so that no page and no image stays in memory.

reportlab's canvas keeps the whole document until it is saved. Measured with 5,000 different cells: 3,129
MB at its peak on one page and 735 MB on six, against 467 MB and 197 MB here, with files of the same size.
A sheet needs little of the format (ISO 32000-1): pages, filled rectangles, JPEG images, text in an
embedded TrueType font, and an outline. The same document always has the same bytes.

Lengths are points of 1/72 inch, from the bottom left corner of a page.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from nstcore.contact_sheet.page import FONT_FILE, font_face

CODES_PER_BLOCK = 100
"""The most entries of one block of a character map."""


class Document:
    """A document under way; `close` it to make it whole.

    Args:
        file: where it goes; written from front to back.
        title: of the document, any text.
    """

    def __init__(self, file: BinaryIO, title: str) -> None:
        self._file = file
        self._title = title
        self._size = 0
        self._offsets: list[int] = []  # of object n + 1
        self._pages: list[tuple[int, str]] = []  # number and heading
        self._font: int | None = None
        self._glyphs: dict[int, str] = {}
        self._write(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
        self._tree = self._reserve()

    def image(self, jpeg: bytes, width: int, height: int) -> int:
        """Write an RGB image, to be shown any number of times.

        Returns:
            Its number for `PdfPage.image`.
        """
        form = f"/Type /XObject /Subtype /Image /Width {width} /Height {height}"
        colors = "/ColorSpace /DeviceRGB /BitsPerComponent 8"
        return self._stream(f"{form} {colors} /Filter /DCTDecode", jpeg)

    def add(self, page: PdfPage) -> None:
        """Write a page that is drawn."""
        content = self._packed(b"\n".join(page.operators))
        font = f"/F0 {self._font} 0 R" if self._font else ""
        images = " ".join(f"/P{number} {number} 0 R" for number in sorted(page.images))
        size = f"{format_number(page.width)} {format_number(page.height)}"
        entries = (
            f"/Type /Page /Parent {self._tree} 0 R /MediaBox [0 0 {size}] /Contents {content} 0 R "
            f"/Resources << /Font << {font} >> /XObject << {images} >> >>"
        )
        self._pages.append((self._dictionary(entries), page.heading))

    def glyphs(self, text: str) -> str:
        """The text as hexadecimal numbers of its letters in the font, which is then embedded."""
        if self._font is None:
            self._font = self._reserve()
        known: Mapping[int, int] = font_face().charToGlyph
        numbers = [known.get(ord(char), 0) for char in text]
        for number, char in zip(numbers, text, strict=True):
            self._glyphs.setdefault(number, char)
        return "".join(f"{number:04X}" for number in numbers)

    def close(self) -> None:
        """Write what holds the pages together."""
        if self._font is not None:
            self._embed_font(self._font)
        kids = " ".join(f"{number} 0 R" for number, _ in self._pages)
        self._dictionary(f"/Type /Pages /Kids [{kids}] /Count {len(self._pages)}", self._tree)
        root = self._dictionary(
            f"/Type /Catalog /Pages {self._tree} 0 R /Outlines {self._outline()} 0 R /Lang (en) "
            "/ViewerPreferences << /DisplayDocTitle true >>"
        )
        info = self._dictionary(f"/Title {_text(self._title)} /Creator {_text('nstcore')}")
        start, count = self._size, len(self._offsets) + 1
        self._write(f"xref\n0 {count}\n0000000000 65535 f \n".encode())
        self._write("".join(f"{offset:010d} 00000 n \n" for offset in self._offsets).encode())
        trailer = f"<< /Size {count} /Root {root} 0 R /Info {info} 0 R >>"
        self._write(f"trailer\n{trailer}\nstartxref\n{start}\n%%EOF\n".encode())

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._size += len(data)

    def _reserve(self) -> int:
        """The number of an object that is written later."""
        self._offsets.append(0)
        return len(self._offsets)

    def _object(self, body: bytes, number: int | None = None) -> int:
        number = self._reserve() if number is None else number
        self._offsets[number - 1] = self._size
        self._write(b"%d 0 obj\n%b\nendobj\n" % (number, body))
        return number

    def _dictionary(self, entries: str, number: int | None = None) -> int:
        return self._object(f"<< {entries} >>".encode("ascii"), number)

    def _stream(self, entries: str, data: bytes) -> int:
        head = f"<< {entries} /Length {len(data)} >>".encode("ascii")
        return self._object(b"%b\nstream\n%b\nendstream" % (head, data))

    def _packed(self, data: bytes, entries: str = "") -> int:
        return self._stream(f"{entries}/Filter /FlateDecode", zlib.compress(data, 6))

    def _outline(self) -> int:
        """One entry for each page, in order."""
        root = self._reserve()
        numbers = [self._reserve() for _ in self._pages]
        for place, (number, (page, heading)) in enumerate(zip(numbers, self._pages, strict=True)):
            entry = f"/Title {_text(heading)} /Parent {root} 0 R"
            if place > 0:
                entry += f" /Prev {numbers[place - 1]} 0 R"
            if place + 1 < len(numbers):
                entry += f" /Next {numbers[place + 1]} 0 R"
            self._dictionary(f"{entry} /Dest [{page} 0 R /Fit]", number)
        ends = f" /First {numbers[0]} 0 R /Last {numbers[-1]} 0 R" if numbers else ""
        return self._dictionary(f"/Type /Outlines /Count {len(numbers)}{ends}", root)

    def _embed_font(self, number: int) -> None:
        """Embed the font, addressed by the numbers of its glyphs (ISO 32000-1, 9.7.4 and 9.10.3)."""
        face, file = font_face(), FONT_FILE.read_bytes()
        glyphs = dict(sorted(self._glyphs.items()))
        program = self._packed(file, f"/Length1 {len(file)} ")
        name = f"/{face.name.decode('ascii')}"
        descriptor = self._dictionary(
            f"/Type /FontDescriptor /FontName {name} "
            "/Flags 4 "  # symbolic: more than the Latin letters of Adobe's standard
            f"/FontBBox [{' '.join(map(format_number, face.bbox))}] "
            f"/ItalicAngle {format_number(face.italicAngle)} /Ascent {format_number(face.ascent)} "
            f"/Descent {format_number(face.descent)} /CapHeight {format_number(face.capHeight)} "
            f"/StemV {format_number(face.stemV)} /FontFile2 {program} 0 R"
        )
        widths = " ".join(
            f"{glyph} [{format_number(face.getCharWidth(ord(char)))}]"
            for glyph, char in glyphs.items()
        )
        descendant = self._dictionary(
            f"/Type /Font /Subtype /CIDFontType2 /BaseFont {name} "
            "/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> "
            f"/FontDescriptor {descriptor} 0 R /W [{widths}] /CIDToGIDMap /Identity"
        )
        characters = self._packed(_character_map(glyphs).encode())
        self._dictionary(
            f"/Type /Font /Subtype /Type0 /BaseFont {name} /Encoding /Identity-H "
            f"/DescendantFonts [{descendant} 0 R] /ToUnicode {characters} 0 R",
            number,
        )


@dataclass
class PdfPage:
    """A page under way, with its heading in the outline; `Document.add` writes it."""

    document: Document
    width: float
    height: float
    heading: str
    operators: list[bytes] = field(default_factory=list)
    images: set[int] = field(default_factory=set)

    def fill(self, x: float, y: float, width: float, height: float, color: str) -> None:
        """Fill a rectangle with a colour ``#rrggbb``."""
        box = " ".join(map(format_number, (x, y, width, height)))
        self._append(f"{_ink(color)} {box} re f")

    def image(self, number: int, x: float, y: float, width: float, height: float) -> None:
        """Show an image of `Document.image`."""
        self.images.add(number)
        matrix = " ".join(map(format_number, (width, 0, 0, height, x, y)))
        self._append(f"q {matrix} cm /P{number} Do Q")

    def text(self, text: str, x: float, y: float, size: float, color: str) -> None:
        """Write a line whose base line begins at ``x``, ``y``."""
        font = f"/F0 {format_number(size)} Tf"
        place = f"{format_number(x)} {format_number(y)} Td"
        self._append(f"{_ink(color)} BT {font} {place} <{self.document.glyphs(text)}> Tj ET")

    def _append(self, operators: str) -> None:
        self.operators.append(operators.encode("ascii"))


def format_number(value: float) -> str:
    """A number as the format wants it: without an exponent, to a thousandth."""
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


def _ink(color: str) -> str:
    return " ".join(format_number(part / 255) for part in bytes.fromhex(color[1:])) + " rg"


def _text(text: str) -> str:
    """Any text as a string of the format: UTF-16 with its mark, in hexadecimal."""
    return f"<FEFF{text.encode('utf-16-be', errors='replace').hex().upper()}>"


_MAP_HEAD = """/CIDInit /ProcSet findresource begin
12 dict begin
begincmap
/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def
/CMapName /Adobe-Identity-UCS def
/CMapType 2 def
1 begincodespacerange
<0000> <FFFF>
endcodespacerange"""


def _character_map(glyphs: Mapping[int, str]) -> str:
    """What letter each glyph stands for, so that text can be searched and copied."""
    lines = [_MAP_HEAD]
    codes = [
        f"<{glyph:04X}> <{char.encode('utf-16-be').hex().upper()}>"
        for glyph, char in glyphs.items()
    ]
    for start in range(0, len(codes), CODES_PER_BLOCK):
        block = codes[start : start + CODES_PER_BLOCK]
        lines += [f"{len(block)} beginbfchar", *block, "endbfchar"]
    return "\n".join(
        [*lines, "endcmap", "CMapName currentdict /CMap defineresource pop", "end", "end"]
    )
