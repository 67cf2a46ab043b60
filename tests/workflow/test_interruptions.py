"""What a kill, an edit in the middle of a run, and cells that cannot be made do to a run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

import psutil
import pytest
from PIL import Image
from workbench import CORES, NST, Bench


def stylize_process(snakemake: subprocess.Popen[str]) -> psutil.Process:
    """The job that optimizes, once it is there."""
    end = time.monotonic() + 120
    while time.monotonic() < end and snakemake.poll() is None:
        for child in psutil.Process(snakemake.pid).children(recursive=True):
            try:
                words = child.cmdline()
            except psutil.Error:
                continue
            if words and "python" in words[0] and words[-1].endswith(".stylize.py"):
                return child
        time.sleep(0.2)
    raise AssertionError("no job came")


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 180
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "took too long"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def killed(make_bench: Callable[..., Bench]) -> Bench:
    """A run whose only batch, one picture at a time, is killed after its first cells."""
    bench = make_bench(contents=1, styles=1, batch_size=1)
    settings = {**bench.config["settings"], "iterations": 500}
    bench.write(settings=settings, sweep={"axes": {"style_weight": [1, 10, 100]}})
    process = bench.start(*NST, "run", "config.yaml", *CORES)
    job = stylize_process(process)
    wait_until(lambda: len(bench.stored()) >= 1, process)
    os.kill(job.pid, signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0, said
    assert not psutil.pid_exists(job.pid)
    return bench


@pytest.mark.slow
class TestKilled:
    def test_finished_cells_stay_finished_whatever_is_edited_meanwhile(self, killed: Bench) -> None:
        before = killed.stored()
        assert 1 <= len(before) < 3, "it was killed in the middle"
        process = killed.start(*NST, "run", "config.yaml", *CORES)
        stylize_process(process)
        # The configuration changes while the run is under way: to another grid, then to nonsense.
        original = killed.file.read_text()
        killed.file.write_text(original.replace("- 100\n", "- 5\n"))
        wait_until(lambda: len(killed.stored()) > len(before), process)
        killed.file.write_text("contents: [nonsense\n")
        said, _ = process.communicate(timeout=240)
        killed.file.write_text(original)
        assert process.returncode == 0, said + killed.logs()
        after = killed.stored()
        assert {key: after[key] for key in before} == before, "nothing was computed again"
        log = killed.stylize_logs()["painting1.log"]
        assert f"3 cells: {len(before)} in the store, {3 - len(before)} to compute" in log
        weights = [r["settings"]["style_weight"] for r in killed.records().values()]
        assert sorted(weights) == [1, 10, 100]
        assert "Nothing to be done" in killed.run()

    def test_no_half_written_file_counts(self, killed: Bench) -> None:
        for name, record in killed.records().items():
            path = killed.run_dir / "cells" / f"{name}.png"
            with Image.open(path) as image:
                image.load()
                assert image.size == (record["image"]["width"], record["image"]["height"])


@pytest.fixture(scope="module")
def failing(make_bench: Callable[..., Bench]) -> Bench:
    """One cell of two whose loss is infinite from the first iteration on."""
    bench = make_bench(contents=1, styles=1)
    return bench.write(sweep={"axes": {"style_weight": [10, 1e39]}}) and bench


class TestFailures:
    bad = "painting1/photo1/style_weight=1e+39"
    good = "painting1/photo1/style_weight=10"

    def test_one_bad_cell_costs_one_cell(self, failing: Bench) -> None:
        status, said = failing.try_run()
        assert status != 0
        assert "1 of 2 cells failed" in said
        assert "Traceback" not in said
        records = failing.records()
        assert records[self.good]["status"] == "ok"
        bad = records[self.bad]
        assert bad["status"] in ("diverged", "failed")
        assert bad["reason"]
        assert bad["image"] is None
        assert bad["metrics"] == {}
        assert list(failing.stored()) == [records[self.good]["key"]]
        assert (failing.run_dir / "report" / "index.html").is_file()
        assert list((failing.run_dir / "sheets").glob("*.png"))
        text = (failing.run_dir / "metrics.csv").read_text()
        assert bad["reason"].split(";")[0] in text

    def test_the_next_call_tries_it_again_and_only_it(self, failing: Bench) -> None:
        failing.write(allow_failures=True)
        failing.run()
        log = failing.stylize_logs()["painting1.log"]
        assert "2 cells: 1 in the store, 1 to compute" in log
        placeholder = failing.run_dir / "cells" / f"{self.bad}.png"
        with (
            Image.open(placeholder) as image,
            Image.open(failing.run_dir / "cells" / f"{self.good}.png") as picture,
        ):
            assert image.size == picture.size
        assert "Nothing to be done" in failing.run()

    @pytest.mark.parametrize("kind", ["photos", "paintings"])
    def test_a_broken_picture_withholds_no_other_result(self, failing: Bench, kind: str) -> None:
        """Its cells fail with its reason; all else is made, in the same job too."""
        good = failing.folder / "photos" / "photo1.png"
        broken = failing.folder / kind / "broken.png"
        broken.write_bytes(good.read_bytes()[:200])
        failing.write(batch_by=[], sweep={"axes": {"style_weight": [10]}}, allow_failures=False)
        status, said = failing.try_run()
        assert status != 0
        assert "1 of 2 cells failed" in said
        assert "Traceback" not in said
        log = failing.run_dir / "logs" / f"prepare_{'contents' if kind == 'photos' else 'styles'}"
        assert f"{kind}/broken.png" in (log / "all.log").read_text()
        records = failing.records()
        assert records[self.good]["status"] == "ok"
        bad = "painting1/broken" if kind == "photos" else "broken/photo1"
        assert f"{kind}/broken.png" in records[f"{bad}/style_weight=10"]["reason"]
        assert (failing.run_dir / "report" / "index.html").is_file()
        # Mended, it is made without being asked for.
        broken.write_bytes(good.read_bytes())
        failing.run()
        assert failing.records()[f"{bad}/style_weight=10"]["status"] == "ok"
        broken.unlink()

    def test_a_wrong_configuration_gives_its_lines_and_starts_nothing(self, failing: Bench) -> None:
        failing.file.write_text(
            "contents: photos\nstyles: nowhere\nsetings: {}\nbatch_by: [stile]\n"
        )
        status, said = failing.try_run()
        assert status == 1
        lines = said.strip().splitlines()
        assert all(line.startswith("nst: ") for line in lines)
        assert any("setings: unknown key; did you mean `settings`?" in line for line in lines)
        failing.file.write_text("contents: photos\nstyles: nowhere\n")
        status, said = failing.try_run()
        assert status == 1
        assert said.strip().count("\n") == 0
        assert "nowhere" in said
        failing.write()


@pytest.mark.slow
class TestChanges:
    """Inputs that change between runs in ways that dates do not tell."""

    def test_shares_of_a_blend_and_an_older_picture_and_another_layout(
        self, make_bench: Callable[..., Bench]
    ) -> None:
        bench = make_bench(contents=1, styles=2)
        first, second = (f"paintings/painting{number}.png" for number in (1, 2))
        bench.write(
            styles={"mix": {first: 0.7, second: 0.3}}, sweep={"axes": {"style_weight": [10]}}
        )
        bench.run()
        keys = {record["key"] for record in bench.records().values()}
        bench.write(styles={"mix": {first: 0.5, second: 0.5}})
        bench.run()
        assert not keys & {record["key"] for record in bench.records().values()}
        # Another picture takes a content's place and brings an older date with it.
        keys = {record["key"] for record in bench.records().values()}
        content = bench.folder / "photos" / "photo1.png"
        with Image.open(content) as image:
            image.transpose(Image.Transpose.ROTATE_180).save(content)
        os.utime(content, (1e9, 1e9))
        bench.write(report={"pages": ["style_weight"]})
        bench.run()
        assert not keys & {record["key"] for record in bench.records().values()}
        sheets = {path.stem for path in (bench.run_dir / "sheets").iterdir()}
        assert sheets == {"style_weight=10"}

    def test_ctrl_c_leaves_no_lock_and_no_job(self, make_bench: Callable[..., Bench]) -> None:
        bench = make_bench(contents=1, styles=1)
        bench.write(settings={**bench.config["settings"], "iterations": 2000})
        process = bench.start(*NST, "run", "config.yaml", *CORES)
        job = stylize_process(process)
        wait_until(
            lambda: any("to compute" in log for log in bench.stylize_logs().values()), process
        )
        for pid in (process.pid, job.pid):  # a terminal sends it to everyone
            os.kill(pid, signal.SIGINT)
        said, _ = process.communicate(timeout=120)
        assert process.returncode != 0
        assert "Traceback" not in said
        assert not psutil.pid_exists(job.pid)
        bench.write(settings={**bench.config["settings"], "iterations": 2})
        bench.run()
