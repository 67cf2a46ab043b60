"""What ``nst run`` shows: one screen on a terminal, plain lines elsewhere, and a readable end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable

import pytest
from workbench import CORES, NST, Bench

pytestmark = pytest.mark.slow

CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Bench]) -> Bench:
    bench = make_bench(contents=1, styles=1)
    settings = {**bench.config["settings"], "pyramid_start": 32}
    return bench.write(settings=settings, sweep={"axes": {"style_weight": [1, 10, 1e39]}}) and bench


class Terminal:
    """A command on a terminal of its own; ``shown`` is all that it wrote."""

    def __init__(self, bench: Bench, columns: int) -> None:
        self.shown = ""
        self.own, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environment = bench.environment({"TERM": "xterm-256color"})
        environment.pop("COLUMNS")
        self.process = subprocess.Popen(
            [*NST, "run", bench.file.name, *CORES],
            cwd=bench.folder,
            env=environment,
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
        )
        os.close(other)

    def read(self, until: str = "") -> str:
        """All that it has written when it says something, or ends; without control codes."""
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                piece = os.read(self.own, 65536)
            except OSError:  # Linux: the other side is closed
                break
            if not piece:
                break
            self.shown += piece.decode(errors="replace")
            if until and until in CONTROL.sub("", self.shown):
                break
        return CONTROL.sub("", self.shown)


def without_breaks(shown: str) -> str:
    """A terminal gets lines that are broken between words."""
    return " ".join(shown.split())


@pytest.mark.parametrize("columns", [80, 140])
def test_a_terminal_shows_cells_jobs_and_failures(bench: Bench, columns: int) -> None:
    bench.write(run=f"columns{columns}")
    terminal = Terminal(bench, columns)
    shown = terminal.read()
    assert terminal.process.wait() != 0, "one cell cannot be made"
    assert "of 3 cells" in shown
    flat = without_breaks(shown)
    assert "failed: cells/painting1/photo1/style_weight=1e+39.png: no finite loss" in flat
    assert "report/index.html shows what there is" in flat
    for noise in ("localrule", "Traceback", "CalledProcessError", "reason:"):
        assert noise not in shown
    assert terminal.shown.count("\x1b[?25l") == terminal.shown.count("\x1b[?25h"), "the cursor"
    # Snakemake's own text is in its log.
    logs = (bench.folder / ".snakemake" / "log").iterdir()
    newest = max(logs, key=lambda file: file.stat().st_mtime)
    assert "localrule stylize:" in newest.read_text()


def test_elsewhere_lines_are_plain(bench: Bench) -> None:
    painting = bench.folder / "paintings" / "painting1.png"
    (bench.folder / "broken.png").write_bytes(painting.read_bytes()[:500])
    styles = {"painting1": "paintings/painting1.png", "broken": "broken.png"}
    bench.write(run="plain", allow_failures=True, styles=styles)
    status, said = bench.nst("run", bench.file.name, *CORES)
    assert status == 0, said
    assert "\x1b" not in said
    assert re.search(r"^\d+ of \d+ jobs done \(\d+ %\)$", said, re.MULTILINE)
    assert said.splitlines()[-1].startswith("Finished in ")
    assert said.splitlines()[-1].endswith("results/plain/report/index.html")
    assert "failed: cells/painting1/photo1/style_weight=1e+39.png" in said
    [broken] = [line for line in said.splitlines() if "broken.png" in line]
    assert broken.startswith(
        "failed: cells/broken/photo1/style_weight=1.png and 2 more: broken.png: "
    )
    stages = ["preparing images", "computing style targets", "optimizing"]
    stages.append("making tables, sheets and report")
    assert [line for line in said.splitlines() if line in stages] == stages
    assert re.search(r"^6 of 6 cells done \(100 %\)", said, re.MULTILINE)
    status, said = bench.nst("run", bench.file.name, *CORES)
    assert status == 0
    assert "Nothing to be done" in said.splitlines()[-1]
    status, said = bench.nst("run", bench.file.name, *CORES, "--dry-run", "--forceall")
    assert status == 0
    assert len(re.findall(r"^stylize +2$", said, re.MULTILINE)) == 1, "a dry run lists its jobs"


def test_ctrl_c_leaves_a_readable_screen(bench: Bench) -> None:
    settings = {**bench.config["settings"], "iterations": 3000}
    bench.write(run="stopped", settings=settings, styles="paintings")
    terminal = Terminal(bench, 100)
    assert "level 1/" in terminal.read(until="iteration")
    os.killpg(terminal.process.pid, signal.SIGINT)
    shown = terminal.read()
    assert terminal.process.wait() != 0
    assert "Traceback" not in shown
    flat = without_breaks(shown)
    assert "stopped: stylize painting1: to be continued: SIG" in flat
    assert "The same command goes on from here" in flat
