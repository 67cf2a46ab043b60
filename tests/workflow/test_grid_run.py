"""One grid through its life: run, run again, grow, shrink, lose files, be tampered with.

The tests stand in the order in which they have to run: each starts from what the one before left.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZipFile

import pytest
from PIL import Image
from workbench import CORES, ROOT, Bench, write_picture

from nstcore.core.encoders import COMPACT_SHA256
from nstcore.store.files import file_sha256

NOTHING = "Nothing to be done"


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench(snapshots={"every": 1, "where": "style_weight == 10"})


def files_below(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and ".snakemake" not in path.parts and "__pycache__" not in path.parts
    }


def test_a_dry_run_leaves_no_files(bench: Bench) -> None:
    before = files_below(bench.folder)
    said = bench.run("-n")
    assert re.search(r"stylize\s+2\b", said), said
    assert files_below(bench.folder) == before


def test_the_grid_runs_to_the_end(bench: Bench) -> None:
    bench.run()
    with open(bench.run_dir / "grid.tsv", newline="") as file:
        grid = list(csv.DictReader(file, delimiter="\t"))
    expected = {
        (style, content, weight)
        for style in ("painting1", "painting2")
        for content in ("photo1", "photo2")
        for weight in ("1.0", "10.0")
    }
    assert {(row["style"], row["content"], row["style_weight"]) for row in grid} == expected
    records = bench.records()
    assert len(records) == len(grid) == len({row["key"] for row in grid}) == 8
    for row in grid:
        record = records[row["image"].removeprefix("cells/").removesuffix(".png")]
        image = bench.run_dir / row["image"]
        assert record["status"] == "ok"
        assert record["key"] == row["key"]
        assert record["image"]["sha256"] == file_sha256(image)
    for name in ("metrics.csv", "metrics.parquet", "loss_curves.parquet", "report/index.html"):
        assert (bench.run_dir / name).stat().st_size > 0
    assert list((bench.run_dir / "sheets").glob("*.png"))
    assert list((bench.run_dir / "sheets").glob("*.pdf"))
    assert json.loads((bench.run_dir / "summary.json").read_text()) == {"cells": 8, "failed": []}
    assert not [name for name in files_below(bench.folder) if ".tmp" in name or ".link" in name]


def test_snapshots_become_films(bench: Bench) -> None:
    folder = bench.run_dir / "snapshots/cells"
    cells = [f"painting{style}/photo{content}" for style in (1, 2) for content in (1, 2)]
    for cell in cells:
        names = [path.name[:6] for path in sorted((folder / cell / "style_weight=10").iterdir())]
        assert names == ["000000", "000001", "000002", "000003"]
    assert len(list(folder.rglob("*.webp"))) == 4 * len(cells)
    films = {
        "cell.gif": ("--cell", "painting2/photo1/style_weight=10"),
        "found.webp": ("--where", "style == 'painting1' and content == 'photo2'"),
        "sheet.webp": ("--sheet",),
    }
    for name, options in films.items():
        status, said = bench.nst("film", "results/small", *options, "-o", name)
        assert (status, said) == (0, f"{name}: 5 frames\n")
        with Image.open(bench.folder / name) as film:
            assert film.n_frames == 5
            assert film.size[0] == 64 or name == "sheet.webp"
    with Image.open(next((bench.run_dir / "sheets").glob("*.png"))) as sheet:
        assert Image.open(bench.folder / "sheet.webp").size == sheet.size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-o", "a.webp"), "4 cells have snapshots; choose one with --cell painting1/photo1/"),
        (("--cell", "painting1/photo/style_weight=10", "-o", "a.gif"), "did you mean `painting1/"),
        (("--cell", "painting1/photo1/style_weight=1", "-o", "a.gif"), "has no snapshots"),
        (("--sheet", "--where", "stile == 'x'", "-o", "a.gif"), "--where: unknown axis"),
        (("--sheet", "--page", "nowhere", "-o", "a.gif"), "there is no page 'nowhere'"),
        (("--sheet", "-o", "a.avi"), "a film is a .webp, .gif or .mp4 file"),
    ],
)
def test_what_a_film_lacks_is_said(bench: Bench, options: tuple[str, ...], message: str) -> None:
    status, said = bench.nst("film", "results/small", *options)
    assert status == 1
    assert message in said
    assert said.count("\n") == 1


def test_an_mp4_needs_a_package(bench: Bench) -> None:
    there = find_spec("imageio_ffmpeg") is not None
    status, said = bench.nst("film", "results/small", "--sheet", "-o", "sheet.mp4")
    assert status == (0 if there else 1)
    assert said.count("\n") == 1
    assert ("5 frames" if there else "pip install imageio-ffmpeg") in said
    assert (bench.folder / "sheet.mp4").is_file() == there


def test_a_second_run_does_nothing(bench: Bench) -> None:
    assert NOTHING in bench.run()


def test_plain_snakemake_is_the_same_run(bench: Bench) -> None:
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    words += ["--configfile", "config.yaml", *CORES]
    status, said = bench.call(*words)
    assert status == 0, said
    assert NOTHING in said


def embedded(page: str, name: str) -> dict[str, Any]:
    """A value that Snakemake's report holds as JSON."""
    script = page.split(f'<script id="{name}">', 1)[1]
    value, _ = json.JSONDecoder().raw_decode(script.split(" = ", 1)[1])
    assert isinstance(value, dict)
    return value


def test_snakemakes_report_holds_sheets_metrics_and_the_report(bench: Bench) -> None:
    """Without a network: a proxy that nobody answers would make any download fail."""
    nobody = dict.fromkeys(
        ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://[::1]:9"
    )
    status, said = bench.nst("run", bench.file.name, "--report", "report.zip", extra=nobody)
    assert status == 0, said
    with ZipFile(bench.folder / "report.zip") as archive:
        page = archive.read("report/report.html").decode()
        results = embedded(page, "results")
        assert "Gatys" in page, "what the workflow is"
        for path, entry in results.items():
            file = (bench.folder / path).read_bytes()
            assert archive.read(f"report/{entry['data_uri']}") == file, path
            assert len(re.sub(r"<[^>]+>", "", entry["caption"]).split()) > 10, path
        labels = {
            category: sorted(
                tuple(results[path]["labels"].values())
                for group in groups.values()
                for path in group
            )
            for category, groups in embedded(page, "categories").items()
        }
        assert labels == {
            "Contact sheets": [
                (f"style={style}", kind)
                for style in ("painting1", "painting2")
                for kind in ("PDF", "PNG")
            ],
            "Metrics": [("metrics",)],
            "Report": [("all cells",)],
        }
        # The interactive report brings what stands beside it, each file once.
        (own,) = [
            entry["data_uri"] for path, entry in results.items() if path.endswith("index.html")
        ]
        report = bench.run_dir / "report"
        for file in files_below(report):
            beside = str(PurePosixPath("report", own).parent / file)
            assert archive.read(beside) == (report / file).read_bytes()
    assert NOTHING in bench.run()


def test_another_style_weight_computes_its_cells_only(bench: Bench) -> None:
    before = bench.stored()
    bench.write(sweep={"axes": {"style_weight": [1, 30, 10]}})
    status, said = bench.nst("plan", "config.yaml")
    assert status == 0, said
    assert "8 already in the store, 4 to compute" in said
    said = bench.run()
    after = bench.stored()
    assert {key: after[key] for key in before} == before
    new = {r["key"] for r in bench.records().values() if r["key"] not in before}
    assert new == set(after) - set(before)
    assert len(new) == 4
    for name, text in bench.stylize_logs().items():
        assert "6 cells: 4 in the store, 2 to compute" in text, name
    for stage in ("prepare_contents", "prepare_styles", "prepare_encoder", "style_targets"):
        assert not re.search(rf"rule {stage}:", said), "was done again"


def test_another_content_computes_its_cells_only(bench: Bench) -> None:
    before = bench.stored()
    write_picture(bench.folder / "photos" / "photo3.png", seed=3, size=(64, 80))
    said = bench.run()
    after = bench.stored()
    assert {key: after[key] for key in before} == before
    assert len(after) - len(before) == 6
    new = {name for name, r in bench.records().items() if r["key"] not in before}
    assert {name.split("/")[1] for name in new} == {"photo3"}
    assert len(re.findall(r"rule prepare_contents:", said)) == 1
    assert "rule style_targets:" not in said


def test_taking_values_back_computes_nothing(bench: Bench) -> None:
    before = bench.stored()
    (bench.folder / "photos" / "photo3.png").unlink()
    bench.write(sweep={"axes": {"style_weight": [1, 10]}})
    bench.run(extra=bench.without_torch())
    assert bench.stored() == before
    with open(bench.run_dir / "metrics.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 8
    assert NOTHING in bench.run()


def test_a_deleted_picture_is_linked_again_without_torch(bench: Bench) -> None:
    before = bench.stored()
    image = bench.run_dir / "cells/painting1/photo2/style_weight=10.png"
    checksum = file_sha256(image)
    image.unlink()
    bench.run(extra=bench.without_torch())
    assert file_sha256(image) == checksum
    assert bench.stored() == before
    log = bench.stylize_logs()["painting1.log"]
    assert "4 cells: 4 in the store, 0 to compute" in log
    assert NOTHING in bench.run()


def test_a_run_without_manifests_goes_on(bench: Bench) -> None:
    """Versions before had none: their output was every file by itself."""
    before = bench.stored()
    shutil.rmtree(bench.run_dir / "manifests")
    bench.run(extra=bench.without_torch())
    assert bench.stored() == before
    assert NOTHING in bench.run()


@pytest.mark.parametrize("suffix", [".json", ".png"])
def test_a_file_of_another_cell_is_put_right(bench: Bench, suffix: str) -> None:
    path = bench.run_dir / "cells/painting1/photo2/style_weight=10"
    other = bench.run_dir / "cells/painting1/photo1/style_weight=10"
    path.with_suffix(suffix).unlink()
    shutil.copyfile(other.with_suffix(suffix), path.with_suffix(suffix))
    bench.run(extra=bench.without_torch())
    record = bench.records()["painting1/photo2/style_weight=10"]
    assert record["cell"]["content"] == "photo2"
    assert record["image"]["sha256"] == file_sha256(path.with_suffix(".png"))
    assert NOTHING in bench.run()


def test_a_lost_input_is_prepared_again_without_torch(bench: Bench) -> None:
    before = bench.stored()
    lost = bench.run_dir / "inputs/contents/photo1/64.png"
    lost.unlink()
    # What nothing has to be made from is not missed.
    (bench.run_dir / "cells/painting1/photo1/style_weight=10.png").unlink()
    bench.run(extra=bench.without_torch())
    assert lost.is_file()
    assert bench.stored() == before
    assert NOTHING in bench.run()


def test_another_run_shares_the_store(bench: Bench) -> None:
    before = bench.stored()
    bench.write(run="other")
    bench.run()
    assert bench.stored() == before
    for text in bench.stylize_logs().values():
        assert "4 in the store, 0 to compute" in text
    assert NOTHING in bench.run(), "linked pictures must not look older than what they came from"
    assert {r["run"] for r in bench.records().values()} == {"other"}


def test_collecting_garbage_keeps_what_runs_have(bench: Bench) -> None:
    before = bench.stored()
    status, said = bench.nst("gc", "--dry-run")
    assert status == 0, said
    assert bench.stored() == before
    # The first run's folder still holds pictures of the values that were taken back.
    wanted = set()
    for run in ("small", "other"):
        for file in (bench.folder / "results" / run / "cells").rglob("*.json"):
            wanted.add(json.loads(file.read_text())["key"])
    shutil.rmtree(bench.folder / "results" / "other")
    shutil.rmtree(bench.folder / "results" / "small" / "cells" / "painting2")
    status, said = bench.nst("gc")
    assert status == 0, said
    grid = bench.folder / "results/small/grid.tsv"
    with open(grid, newline="") as file:
        planned = {row["key"] for row in csv.DictReader(file, delimiter="\t")}
    left = set(bench.stored())
    assert planned <= left < set(before)
    assert list((bench.folder / "results/small/snapshots").rglob("*.webp"))
    assert left <= wanted


def test_both_encoders_in_one_grid(make_bench: Callable[..., Bench], weights: Path) -> None:
    """A map names the weights of the one that has none of its own; the metrics name the judge."""
    bench = make_bench(
        contents=1,
        styles=1,
        settings={
            "weights": {"vgg19": str(weights)},
            "size": 64,
            "pyramid_start": 64,
            "iterations": 3,
        },
        sweep={"axes": {"encoder": ["compact", "vgg19"]}},
        evaluation={"encoder": "vgg19", "size": 64},
    )
    bench.run()
    records = list(bench.records().values())
    eyes = {record["settings"]["encoder"]: record["inputs"]["encoder"] for record in records}
    assert eyes["compact"]["sha256"] == COMPACT_SHA256
    assert eyes["vgg19"]["sha256"] == file_sha256(weights)
    assert {record["evaluation"]["name"] for record in records} == {"vgg19"}
    assert len({record["image"]["sha256"] for record in records}) == 2
    assert NOTHING in bench.run()
