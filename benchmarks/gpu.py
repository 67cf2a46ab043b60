"""Ten minutes with a GPU: does the engine work there, how fast is it, and what memory does it take.

    make bench-gpu                                        # on the machine with the GPU
    python benchmarks/gpu.py --parts checks share
    python benchmarks/gpu.py --device cpu --quick         # does the script itself work?

Each part runs in a process of its own, so that a failed kernel costs that part alone, and within
a budget of seconds. ``gpu.json`` and ``gpu.md`` are written anew after every row: a run that is cut off
loses nothing.

The machine needs no installation. Beside torch, torchvision, numpy, pillow, safetensors and scikit-image
the engine imports pydantic (compiled in part), psutil, imagecodecs and PyYAML. Where these are missing,
they are unpacked from ``.wheels/``, which is to be carried along with the tracked files: 32 MB and 9 MB.
``make bench-gpu-wheels GPU_PYTHON=3.12`` fills it for Linux on x86-64 with that version of Python.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]

from _wheels import use_wheels  # noqa: E402

MISSING = use_wheels()
if MISSING:
    sys.exit(
        f"{', '.join(MISSING)}: missing here; run `make bench-gpu-wheels GPU_PYTHON="
        f"{sys.version_info[0]}.{sys.version_info[1]}` where there is a network, and bring .wheels/ along"
    )

import torch  # noqa: E402
from _common import RESULTS, machine_name, table  # noqa: E402
from _gpu_parts import PARTS, Part, make_pictures  # noqa: E402
from _gpu_studio import QUICK, Scale, Studio  # noqa: E402

from nstcore.store.files import write_json, write_text  # noqa: E402

FORK = multiprocessing.get_context("fork")
"""Each part starts with everything imported.  This process never opens CUDA, which survives no fork."""


def _child(name: str, folder: Path, device: str, scale: Scale, rows: Any) -> None:
    """Run a part and send its rows."""
    os.setpgrp()  # to be ended with all that it starts
    part, errors = PARTS[name], []
    scales = [replace(scale, encoders=(one,)) for one in scale.encoders] if part.each else [scale]
    for one in scales:
        try:
            rows.send({"machine": machine_name(device)})
            for row in part.run(Studio(folder, device), one):
                rows.send(row)
        except Exception as error:
            traceback.print_exc()
            reason = (str(error).splitlines() or [""])[0]
            errors.append(f"{type(error).__name__}: {reason}")
    rows.send({"ended": "; ".join(errors) or None})
    rows.close()


class Report:
    """What was found so far, on disk at any time.

    Args:
        options: the command line.
    """

    def __init__(self, options: argparse.Namespace, scale: Scale) -> None:
        self.folder, self.name = options.out, "gpu" if options.device == "cuda" else "gpu_cpu"
        self.result: dict[str, Any] = {
            "machine": None,
            "device": options.device,
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "quick": options.quick,
            "scale": asdict(scale),
            "parts": {},
        }

    def write(self) -> None:
        """Write both files."""
        write_json(self.folder / f"{self.name}.json", self.result)
        write_text(self.folder / f"{self.name}.md", "\n".join(to_markdown(self.result)) + "\n")

    def run(self, name: str, part: Part, budget: float, arguments: tuple[Any, ...]) -> None:
        """Run a part in a process of its own, within a budget of seconds."""
        found = self.result["parts"][name] = {"rows": [], "seconds": None, "ended": "cut off here"}
        incoming, outgoing = FORK.Pipe(duplex=False)
        began = time.monotonic()
        process = FORK.Process(target=_child, args=(name, *arguments, outgoing))
        process.start()
        outgoing.close()
        try:
            while incoming.poll(max(0.0, budget - (time.monotonic() - began))):
                self._take(name, found, incoming.recv())
            found["ended"] = f"ended after its {budget:.0f} seconds"
        except EOFError:
            process.join(5)
            if process.exitcode:
                found["ended"] = f"its process ended with {process.exitcode}"
        finally:
            if process.is_alive():
                os.killpg(process.pid, signal.SIGKILL)
            process.join()
            found["seconds"] = round(time.monotonic() - began, 1)
            self.write()

    def _take(self, name: str, found: dict[str, Any], row: dict[str, Any]) -> None:
        """Take what a part has sent."""
        if "machine" in row:
            self.result["machine"] = row["machine"]
        elif "ended" in row:
            found["ended"] = row["ended"]
        else:
            found["rows"].append(row)
            print(f"{name}: {json.dumps(row, ensure_ascii=False)}", flush=True)
        self.write()


def to_markdown(result: Mapping[str, Any]) -> list[str]:
    """The results as tables for people."""
    on_gpu = result["device"] == "cuda"
    lines = [
        "# What the engine does on a GPU" if on_gpu else "# The script of the GPU, tried on a CPU",
        "",
        f"Machine: {result['machine']}; torch {result['torch']}, CUDA {result['cuda']}. "
        "VGG-19's weights are random, which takes as long. Pictures of 4:3.",
    ]
    if result["quick"]:
        lines += ["", "A quick run at tiny sizes: it shows that the script works, and no speed."]
    for name, found in result["parts"].items():
        seconds = "" if found["seconds"] is None else f" ({found['seconds']:.0f} s)"
        lines += ["", f"## {PARTS[name].title}{seconds}", ""]
        rows = found["rows"]
        if rows:
            lines += table(list(rows[0]), [list(row.values()) for row in rows])
        if found["ended"] is not None:
            lines += ["", f"Not complete: {found['ended']}."]
    return lines


def _there_is_a_gpu() -> bool:
    asking = FORK.Process(target=lambda: sys.exit(not torch.cuda.is_available()))
    asking.start()
    asking.join()
    return asking.exitcode == 0


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure what there is to know of a GPU.")
    parser.add_argument("--device", default="cuda", choices=("cpu", "cuda"))
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does the script work?")
    parser.add_argument(
        "--minutes", type=float, default=9.5, help="for all parts together (default: 9.5)"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    parser.add_argument("--pictures", help=argparse.SUPPRESS)
    return parser


def main() -> None:
    """Measure and write ``gpu.json`` and ``.md``, on a CPU ``gpu_cpu``; fail if a part or a check did."""
    began = time.monotonic()
    parser = make_parser()
    options = parser.parse_args()
    if options.pictures is not None:
        make_pictures(json.loads(options.pictures))
        return
    if options.device == "cuda" and not _there_is_a_gpu():
        parser.error("there is no CUDA device; `--device cpu --quick` tries the script without one")
    scale = QUICK if options.quick else Scale()
    report = Report(options, scale)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # by way of what ends the part
    with tempfile.TemporaryDirectory() as folder:
        for name in options.parts:
            left = 60 * options.minutes - (time.monotonic() - began)
            arguments = (Path(folder), options.device, scale)
            report.run(name, PARTS[name], max(0.0, min(PARTS[name].seconds, left)), arguments)
    print(f"\n{report.folder / report.name}.md", flush=True)
    parts = report.result["parts"].values()
    failed = any(str(row.get("result")).startswith("FAILED") for p in parts for row in p["rows"])
    sys.exit(failed or any(part["ended"] is not None for part in parts))


if __name__ == "__main__":
    main()
