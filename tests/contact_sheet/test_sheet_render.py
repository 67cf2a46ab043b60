"""The drawn sheets: pictures in their places, text as text, and no crash on damaged files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader
from synthetic import painting, sources_of, write_run

from nstcore.contact_sheet.axes import SheetSpec, page_names
from nstcore.contact_sheet.layout import plan_pages, source_sizes
from nstcore.contact_sheet.render import FLAWED, PAPER, write_sheets
from nstcore.errors import UserError
from nstcore.images.reading import read_thumbnail
from nstcore.results.tables import collect


def drawn(root: Path, spec: SheetSpec, **options: Any) -> list[Path]:
    run = write_run(root, **options)
    metrics, _ = collect(run / "grid.tsv", run)
    return write_sheets(metrics, spec, run, run / "sheets", sources=sources_of(run))


def words(pdf: Path) -> str:
    return " ".join(page.extract_text() for page in PdfReader(pdf).pages)


def test_each_page_is_a_png_and_a_pdf(tmp_path: Path) -> None:
    spec = SheetSpec("Two styles", rows=["content"], cols=["style_weight"], pages=["style"])
    written = drawn(tmp_path, spec)
    names = page_names({"style": ["night", "wave"]}, ["style"])
    assert [path.name for path in written] == [n + end for n in names for end in (".png", ".pdf")]
    text = words(written[1])
    assert "Two styles" in text
    assert "style night" in text
    assert "style_weight" in text
    assert "cat" in text
    assert "rocket" in text
    (page,) = PdfReader(written[1]).pages
    assert len(page.images) == 2 + 6
    with Image.open(written[0]) as png:
        assert png.width == round(float(page.mediabox.width) * 120 / 72)


def test_sheets_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    first, second = (drawn(tmp_path / name, SheetSpec("t"), axes={}) for name in "ab")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_pictures_and_heads_are_in_their_places(tmp_path: Path) -> None:
    red, blue = Image.new("RGB", (60, 40), "red"), Image.new("RGB", (40, 60), "blue")
    pictures = {"cat": red, "night": blue}
    run = write_run(tmp_path, styles=["night"], contents=["cat"], pictures=pictures, axes={})
    metrics, _ = collect(run / "grid.tsv", run)
    spec = SheetSpec("t", thumb=128)
    png, _ = write_sheets(metrics, spec, run, run / "sheets", sources=sources_of(run))
    ((part,),) = [p.parts for p in plan_pages(metrics, spec, sizes={("style", "night"): (40, 60)})]
    seen = np.asarray(Image.open(png))
    for head in part.headers:
        assert head.image is not None
        middle = seen[head.image.y + 20, head.image.x + 20].tolist()
        assert middle == ([255, 0, 0] if head.axis == "content" else [0, 0, 255])
    (cell,) = part.cells
    mixed = seen[cell.box.y + 40, cell.box.x + 60].tolist()
    assert mixed[0] > 100
    assert mixed[2] > 30


def test_failed_cells_are_marked(tmp_path: Path) -> None:
    png, pdf = drawn(tmp_path, SheetSpec("t"), axes={}, failed=[1])
    assert "out of memory" in words(pdf)
    colors = {color for _, color in Image.open(png).getcolors(1 << 24) or []}
    assert tuple(bytes.fromhex(FLAWED[1:])) in colors


def test_damaged_and_missing_pictures_do_not_stop_the_sheet(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    metrics, _ = collect(run / "grid.tsv", run)
    images = metrics["image"].tolist()
    (run / images[0]).write_bytes(b"\x89PNG\r\n\x1a\n nonsense")
    (run / images[1]).unlink()
    sources = sources_of(run)
    sources["style"]["night"][0].write_bytes(b"")
    del sources["content"]["cat"]
    spec = SheetSpec("t", cols=["style", "style_weight"])
    png, _ = write_sheets(metrics, spec, run, run / "sheets", sources=sources)
    assert png.is_file()


def test_a_huge_page_has_all_its_parts_in_one_pdf(tmp_path: Path) -> None:
    spec = SheetSpec("t", ["content"], ["style", "style_weight"], max_side=1000)
    options = {"styles": [f"s{n}" for n in range(6)], "contents": [f"c{n}" for n in range(12)]}
    stale = tmp_path / "demo" / "sheets" / "all.part99.png"
    stale.parent.mkdir(parents=True)
    stale.touch()
    *pngs, pdf = drawn(tmp_path, spec, **options)
    assert len(PdfReader(pdf).pages) > len(pngs) - 1 > 0
    assert [png.name for png in pngs[:2]] == ["all.png", "all.part2.png"]
    assert sorted(pdf.parent.glob("*.png")) == sorted(pngs)
    for png in pngs:
        assert max(Image.open(png).size) <= 1000


def test_the_outline_names_pages_and_parts(tmp_path: Path) -> None:
    spec = SheetSpec("Wide", ["content"], ["style", "style_weight"], ["seed"], max_side=1000)
    names = {"styles": [f"s{n}" for n in range(5)], "contents": ["c"]}
    written = drawn(tmp_path, spec, **names, seeds=(0, 1))
    pdfs = [path for path in written if path.suffix == ".pdf"]
    assert [pdf.stem for pdf in pdfs] == ["seed=0", "seed=1"]
    for pdf in pdfs:
        reader = PdfReader(pdf, strict=True)
        title = f"Wide · {pdf.stem.replace('=', ' ')}"
        assert reader.metadata is not None
        assert reader.metadata.title == title
        count = len(reader.pages)
        assert count > 1
        assert [entry["/Title"] for entry in reader.outline] == [
            f"{title} · part {n} of {count}" for n in range(1, count + 1)
        ]


def test_names_of_sixty_letters_are_whole_in_the_pdf(tmp_path: Path) -> None:
    names = {axis: f"{axis}-{'abcde_fgh,' * 6}"[:60] for axis in ("style", "content", "value")}
    axes = {"look": [names["value"], "b"]}
    for place in ("rows", "cols", "pages"):
        sides = {"rows": ["content"], "cols": ["style"], "pages": []}
        sides[place] = [*sides[place], "look"]
        options = {"styles": [names["style"]], "contents": [names["content"]], "axes": axes}
        written = drawn(tmp_path / place, SheetSpec("t", **sides, thumb=64), **options)
        said = "".join(words(path) for path in written if path.suffix == ".pdf").replace(" ", "")
        for name in names.values():
            assert name in said.replace("\n", ""), place


def test_a_source_that_heads_many_groups_is_in_the_pdf_once(tmp_path: Path) -> None:
    spec = SheetSpec("t", rows=["style", "content"], cols=["style_weight"])
    _, pdf = drawn(tmp_path, spec)
    pictures = {image.name for image in PdfReader(pdf).pages[0].images}
    assert len(pictures) == 2 + 2 + 12, "styles, contents and cells"


def test_more_threads_draw_the_same(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    metrics, _ = collect(run / "grid.tsv", run)
    found = []
    for threads in (1, 3):
        folder = tmp_path / str(threads)
        options = {"sources": sources_of(run), "threads": threads}
        written = write_sheets(metrics, SheetSpec("t"), run, folder, **options)
        found.append([path.read_bytes() for path in written])
    assert found[0] == found[1]


def test_a_picture_keeps_its_size_beside_a_tall_head(tmp_path: Path) -> None:
    """A row that its head makes taller than the pictures does not enlarge one that is upright."""
    wide, tall = Image.new("RGB", (64, 16), "red"), Image.new("RGB", (16, 64), "red")
    run = write_run(
        tmp_path,
        styles=["s"],
        contents=["c"],
        axes={"look": ["a", "b"]},
        pictures={"c": tall, "s": wide},
    )
    metrics, _ = collect(run / "grid.tsv", run)
    title = {"look": {"a": "word " * 100, "b": "b"}}
    spec = SheetSpec("t", rows=["look"], cols=["content"], thumb=64, titles=title)
    png, _ = write_sheets(metrics, spec, run, run / "sheets")
    ((part,),) = [page.parts for page in plan_pages(metrics, spec)]
    first = part.cells[0].box
    assert first.height > 100
    below = np.asarray(Image.open(png))[
        first.y + 70 : first.bottom, first.x : first.x + first.width
    ]
    assert (below == list(bytes.fromhex(PAPER[1:]))).all()


def test_only_one_page_can_be_drawn(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    metrics, _ = collect(run / "grid.tsv", run)
    spec = SheetSpec("t", cols=["style_weight"], pages=["style"])
    written = write_sheets(metrics, spec, run, run / "sheets", only="style=wave")
    assert [path.name for path in written] == ["style=wave.png", "style=wave.pdf"]
    with pytest.raises(UserError, match="no page"):
        write_sheets(metrics, spec, run, run / "sheets", only="no")


def test_any_title_can_be_drawn(tmp_path: Path) -> None:
    title = "日本 <b>&amp;</b> \\(x) \x00 “čeština” \U0001f600 " + "word " * 200
    _, pdf = drawn(tmp_path, SheetSpec(title), axes={})
    assert "<b>&amp;</b>" in words(pdf)


def test_the_images_of_a_blend_stand_side_by_side(tmp_path: Path) -> None:
    paths = [tmp_path / f"{color}.png" for color in ("red", "lime", "blue")]
    for path in paths:
        Image.new("RGB", (90, 30), path.stem).save(path)
    strips = read_thumbnail(paths, (90, 90))
    row = [strips.getpixel((x, 15)) for x in (15, 45, 75)]
    assert row == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_sizes_of_sources_are_upright(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    painting(1, (80, 40)).save(tmp_path / "turned.jpg", exif=turned)
    sizes = source_sizes({"style": {"s": [tmp_path / "turned.jpg"]}})
    assert sizes == {("style", "s"): (40, 80)}
