"""A planned page: every label inside its room, nothing on top of anything, limits kept."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from placed import check, check_limits, table, texts_of
from synthetic import sources_of, write_run

from nstcore.contact_sheet.axes import SheetSpec
from nstcore.contact_sheet.layout import plan_pages, source_sizes
from nstcore.contact_sheet.page import Part
from nstcore.results.tables import collect

SIXTY = "a_name-of-sixty_characters,with.all+kinds=of_separators_in_0"


def planned(root: Path, spec: SheetSpec, **options: Any) -> list[Part]:
    run = write_run(root, **options)
    metrics, _ = collect(run / "grid.tsv", run)
    pages = plan_pages(metrics, spec, sizes=source_sizes(sources_of(run)))
    return [part for page in pages for part in page.parts]


@pytest.mark.parametrize("thumb", [32, 64, 100, 256, 700])
@pytest.mark.parametrize(
    ("rows", "cols", "pages"),
    [
        (["content"], ["style", "style_weight"], []),
        (["style", "content"], ["style_weight"], ["seed"]),
        (["style_weight"], ["content"], ["style"]),
        ([], ["style"], []),
        (["content", "style_weight", "seed"], [], []),
        ([], [], []),
    ],
)
def test_nothing_overlaps_and_nothing_is_cut(
    tmp_path: Path, rows: list[str], cols: list[str], pages: list[str], thumb: int
) -> None:
    spec = SheetSpec(f"A title {SIXTY}", rows, cols, pages, thumb, fixed={"layers": ["a"] * 30})
    names = {"styles": [f"{SIXTY}1", "b"], "contents": [f"{SIXTY}2", "c", "W" * 60]}
    parts = planned(tmp_path, spec, **names, seeds=(0, 1), failed=[0, 7, 20], diverged=[3])
    for part in parts:
        check(part)


def test_labels_hold_the_whole_name(tmp_path: Path) -> None:
    (part,) = planned(tmp_path, SheetSpec("t", thumb=64), styles=[SIXTY], axes={})
    label = next(h for h in part.headers if h.axis == "style").labels[-1]
    assert "".join(label.lines) == SIXTY


def test_group_heads_stand_once_and_span_their_group(tmp_path: Path) -> None:
    spec = SheetSpec("t", rows=["style", "content"], cols=["style_weight"])
    (part,) = planned(tmp_path, spec)
    styles = [head for head in part.headers if head.axis == "style"]
    contents = [head for head in part.headers if head.axis == "content"]
    assert [head.value for head in styles] == ["night", "wave"]
    assert [head.value for head in contents] == ["cat", "rocket"] * 2
    assert styles[0].span.y == contents[0].span.y
    assert styles[0].span.bottom == contents[1].span.bottom


def test_failed_cells_give_their_reason_and_missing_ones_a_blank(tmp_path: Path) -> None:
    run = write_run(tmp_path, failed=[0], diverged=[1], styles=["night"])
    metrics, _ = collect(run / "grid.tsv", run)
    spec = SheetSpec("t", rows=["content"], cols=["style_weight"])
    ((part,),) = [page.parts for page in plan_pages(metrics.drop(index=2), spec)]
    failed, diverged, empty, *_ = part.cells
    assert (failed.status, failed.image) == ("failed", None)
    assert [note.lines[0].split()[0] for note in failed.notes] == ["failed", "out"]
    assert diverged.image
    assert diverged.notes[0].lines == ("diverged",)
    assert (empty.status, empty.image, empty.notes) == ("empty", None, ())


def test_columns_are_as_wide_as_their_pictures(tmp_path: Path) -> None:
    (part,) = planned(tmp_path, SheetSpec("t", thumb=200), axes={})
    cat, rocket = (cell.box for cell in part.cells[::2])  # 64×48 and 48×64
    assert (cat.width, cat.height) == (200, 150)
    assert rocket.height == 200


def grid(rows: int, cols: int) -> pd.DataFrame:
    return table([{"style": f"s{c}", "content": f"c{r}"} for r in range(rows) for c in range(cols)])


def test_large_pages_shrink_before_they_split() -> None:
    (page,) = plan_pages(grid(3, 60), SheetSpec("t"))
    assert 64 < page.thumb < 256
    assert len(page.parts) == 1
    assert 11_000 < page.parts[0].width <= 12_000


def test_a_page_that_cannot_shrink_is_split(tmp_path: Path) -> None:
    (page,) = plan_pages(grid(50, 40), SheetSpec("t", max_side=1200))
    assert page.thumb == 64
    assert len(page.parts) > 4
    seen = []
    for part in page.parts:
        check(part)
        assert max(part.width, part.height) <= 1200
        assert any("part" in line for text in part.texts for line in text.lines)
        contents = [head.value for head in part.headers if head.axis == "content"]
        styles = [head.value for head in part.headers if head.axis == "style"]
        seen += [(content, style) for content in contents for style in styles]
    assert len(seen) == len(set(seen)) == 50 * 40


def test_the_area_is_limited_too() -> None:
    (page,) = plan_pages(grid(60, 45), SheetSpec("t"))
    check_limits(page)


def test_a_thousand_rows_come_in_parts_that_each_have_their_heads() -> None:
    names = [f"content-{n:04d}-{'x' * 47}" for n in range(1000)]
    cells = [{"content": name, "style": style} for name in names for style in ("night", "wave")]
    (page,) = plan_pages(table(cells), SheetSpec("t"))
    check_limits(page)
    assert len(page.parts) > 5
    rows: list[str] = []
    for part in page.parts:
        check(part)
        assert [head.value for head in part.headers if head.axis == "style"] == ["night", "wave"]
        rows += [head.value for head in part.headers if head.axis == "content"]
    assert rows == names


def test_a_page_without_cells_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path, axes={"style_weight": [1, 2]})
    metrics, _ = collect(run / "grid.tsv", run)
    metrics = metrics[(metrics["style"] == "night") | (metrics["style_weight"] == 1)]
    pages = plan_pages(metrics, SheetSpec("t", cols=[], pages=["style", "style_weight"]))
    (part,) = pages[3].parts
    check(part)
    assert any("No cell" in text.lines[0] for text in part.texts)


def test_the_legend_names_the_run_and_what_is_fixed(tmp_path: Path) -> None:
    spec = SheetSpec("t", cols=["style", "style_weight"], fixed={"size": 512, "seed": 3})
    (part,) = planned(tmp_path, spec, failed=[1])
    words = " ".join(" ".join(text.lines) for text in part.texts)
    assert "Run demo · 12 cells · 1 failed" in words
    assert "size 512" in words
    assert "seed 0" in words
    assert "seed 3" not in words
    assert "style_weight" not in words
    assert "Pale red" in words
    assert "Pale grey" not in words


def test_the_legend_tells_what_an_empty_place_means() -> None:
    metrics = grid(2, 2).drop(index=3)
    ((part,),) = [page.parts for page in plan_pages(metrics, SheetSpec("t"))]
    words = " ".join(" ".join(text.lines) for text in part.texts)
    assert "Pale grey: not in the grid" in words
    assert "Pale red" not in words


@pytest.mark.parametrize("place", ["rows", "cols", "pages", "nowhere"])
def test_titles_stand_in_place_of_values(tmp_path: Path, place: str) -> None:
    """Wherever the axis stands, and with all the room that they need."""
    title = "Soft, with averaged pooling and three layers"
    places = {"rows": ["content"], "cols": ["style"]}
    if place != "nowhere":
        places[place] = [*places.get(place, []), "look"]
    spec = SheetSpec("t", **places, thumb=64, titles={"look": {"soft": title}})
    looks = ["soft"] if place == "nowhere" else ["soft", "hard"]
    parts = planned(tmp_path, spec, axes={"look": looks})
    words: list[str] = []
    for part in parts:
        check(part)
        words += [" ".join(text.lines) for text in texts_of(part)]
        words += [word for head in part.headers for word in (head.value,)]
    said = " ".join(words)
    assert said.count(title.split()[-2] + " layers") >= 1
    assert ("hard" in said) == (place != "nowhere")
