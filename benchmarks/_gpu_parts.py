"""The parts of ``gpu.py``: each yields rows as soon as it has measured them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from _common import ROOT, met, show
from _gpu_checks import CHECKS
from _gpu_studio import Scale, Studio, make
from roofline import iteration_flops, matrix_peak

from nstcore.core.batched import to_tensor
from nstcore.core.objective import build_objective
from nstcore.core.settings import Settings
from nstcore.jobs.engine import Engine, StylizeRequest
from nstcore.resources.memory_model import peak_bytes

Row = dict[str, Any]

PROCESS_GOAL, BATCH_GOAL, PEAK_GOAL = 20.0, 2.0, 0.40
"""Least speed-ups over one process a picture and over batches of one; least share of the bf16 peak."""

PRECISION_GOAL = 0.02
"""Most that the final loss in bfloat16 may lie above float32's, as a share of it."""

MODEL_GOAL = (1.0, 1.3)
"""The memory model over the measured peak."""


def checks(studio: Studio, scale: Scale) -> Iterator[Row]:
    """The engine's ways, one by one; then the tests marked gpu, where there is pytest."""
    for name, check in CHECKS.items():
        began, result = time.perf_counter(), "passed"
        try:
            check(studio, scale.check)
        except Exception as error:
            result = f"FAILED: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        yield {"check": name, "result": result, "seconds": show(time.perf_counter() - began)}
    yield {"check": "tests marked gpu", "result": _marked_tests(studio.device), "seconds": None}


def _marked_tests(device: str) -> str:
    """The last line of pytest over the files with tests marked gpu, or why they were not run."""
    if device == "cpu":
        return "not run: they need a GPU"
    missing = [name for name in ("pytest", "hypothesis") if find_spec(name) is None]
    if missing:
        return f"not run: {' and '.join(missing)} missing; the checks above need neither"
    found = sorted((ROOT / "tests").rglob("test_*.py"))
    files = [str(file) for file in found if "pytest.mark.gpu" in file.read_text("utf-8")]
    # The checks above are tests too.
    options = ["-q", "-m", "gpu", "-k", "not test_on_a_gpu", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout + done.stderr, flush=True)
    said = (done.stdout.strip().splitlines() or ["pytest said nothing"])[-1].strip("= ")
    return f"FAILED: {said}" if done.returncode else said


def speed(studio: Studio, scale: Scale) -> Iterator[Row]:
    """Seconds a picture: many at a time in one process, one at a time, and one process for each."""
    for encoder in scale.encoders:
        settings = studio.settings(encoder, scale.size, scale.iterations)
        studio.target(settings)  # no process shall have to make it
        common = {"encoder": encoder, "px": scale.size, "iterations": scale.iterations}
        requests = studio.requests(settings, scale.together)
        engine, single = studio.engine(), studio.engine(1)
        for either in (single, engine):
            make(either, requests[:1])  # loads the encoder
        together = make(engine, requests)
        each = together.seconds / scale.together
        first = {"way": f"{together.batch} at a time", "s / picture": show(each)}
        yield {**common, **first, "engine is faster by": None, "goal": None, "met": None}
        one = make(single, requests[: scale.alone])
        yield {**common, **_compared("batches of one", one.seconds / scale.alone, each, BATCH_GOAL)}
        # Both pay for their start: that of the engine counts once for all its pictures.
        whole = _process(studio, settings, scale.together) / scale.together
        apart = [_process(studio, settings, 1) for _ in range(scale.processes)]
        way = "one process a picture, against one process for all"
        yield {**common, **_compared(way, min(apart), whole, PROCESS_GOAL)}


def _compared(way: str, seconds: float, engine: float, goal: float) -> Row:
    ratio = seconds / engine
    verdict = {"goal": f"≥ {goal:.0f}", "met": met(ratio, goal, least=True)}
    return {"way": way, "s / picture": show(seconds), "engine is faster by": show(ratio), **verdict}


def _process(studio: Studio, settings: Settings, count: int) -> float:
    """Seconds of a whole process that makes pictures."""
    task = {
        "folder": str(studio.folder),
        "device": studio.device,
        "settings": [settings.encoder, settings.size, settings.iterations],
        "count": count,
    }
    script = str(Path(__file__).with_name("gpu.py"))
    began = time.perf_counter()
    subprocess.run([sys.executable, script, "--pictures", json.dumps(task)], check=True)
    return time.perf_counter() - began


def make_pictures(task: dict[str, Any]) -> None:
    """What such a process does."""
    studio = Studio(Path(task["folder"]), task["device"])
    make(studio.engine(), studio.requests(studio.settings(*task["settings"]), task["count"]))


def precision(studio: Studio, scale: Scale) -> Iterator[Row]:
    """A whole descent in bfloat16 and in float32; float32 judges the pictures of both."""
    count = max(2, scale.together // 8)
    for encoder in scale.encoders:
        settings = studio.settings(encoder, scale.size, scale.iterations)
        requests = studio.requests(settings, count)
        row: Row = {"encoder": encoder, "px": scale.size, "pictures": count}
        losses, seconds = {}, {}
        for name in ("float32", "bfloat16"):
            engine = studio.engine(precision=name)
            made = make(engine, requests)
            seconds[name] = made.per_iteration
            losses[name] = sum(
                _loss(studio, engine, request, image)
                for request, image in zip(requests, made.images, strict=True)
            )
            row[f"ms / iteration, {name}"] = show(1e3 * seconds[name])
        above = losses["bfloat16"] / losses["float32"] - 1
        yield {
            **row,
            "float32 takes": show(seconds["float32"] / seconds["bfloat16"]) + " times",
            "final loss": f"{above:+.2%}",
            "goal": f"≤ {PRECISION_GOAL:+.0%}",
            "met": met(above, PRECISION_GOAL),
        }


def _loss(studio: Studio, engine: Engine, request: StylizeRequest, image: Any) -> float:
    """The objective of a finished picture with convolutions in float32."""
    settings = request.settings
    encoder = engine.encoder(settings, request.weights, settings.layers, half=False)
    device = engine.device
    with torch.no_grad():
        source = to_tensor(request.read().content, device)
        content = encoder(source, list(settings.used_content_layers))
        style = engine.moments(request.targets[0])
        objective = build_objective(encoder, settings, content=content, style=style)
        return float(objective(to_tensor(image, device)).total)


def share(studio: Studio, scale: Scale) -> Iterator[Row]:
    """What of the peak of bfloat16 matrix products an iteration reaches."""
    peak = matrix_peak(3, studio.device, scale.matrix)
    for encoder in scale.encoders:
        for count in sorted({1, scale.together}):
            settings = studio.settings(encoder, scale.size, scale.timed)
            requests = studio.requests(settings, count)
            engine = studio.engine(precision="bfloat16")
            make(engine, requests[:1])
            made = make(engine, requests)
            height, width = scale.size * 3 // 4, scale.size
            loaded = engine.encoder(settings, requests[0].weights, settings.layers, half=True)
            total = made.batch * sum(iteration_flops(loaded, settings, height, width).values())
            reached = total / made.per_iteration
            wanted = encoder == "vgg19" and count > 1
            yield {
                "encoder": encoder,
                "px": scale.size,
                "pictures": made.batch,
                "ms / iteration": show(1e3 * made.per_iteration),
                "TFLOP": show(total / 1e12),
                "TFLOP/s": show(reached / 1e12),
                "bf16 peak": show(peak / 1e12),
                "share": f"{reached / peak:.1%}",
                "goal": f"≥ {PEAK_GOAL:.0%}" if wanted else None,
                "met": met(reached / peak, PEAK_GOAL, least=True) if wanted else None,
            }


def memory(studio: Studio, scale: Scale) -> Iterator[Row]:
    """The memory model against torch's own count, beyond what is held before."""
    on_gpu = studio.device == "cuda"
    for encoder in scale.encoders:
        for size, count in scale.models:
            settings = studio.settings(encoder, size, scale.timed)
            requests = studio.requests(settings, count)
            make(studio.engine(), requests[:1])  # loads what stays
            held = torch.cuda.memory_allocated() if on_gpu else 0
            made = make(studio.engine(), requests)
            width, height = requests[0].size
            half = studio.engine().half
            model = peak_bytes(settings, width, height, made.batch, device=studio.device, half=half)
            row: Row = {"encoder": encoder, "px": size, "pictures": made.batch}
            row["model, GB"] = show(model / 1e9)
            peak = 1e6 * float(made.results[0].metadata["peak_memory_mb"]) - held
            ratio = model / peak if on_gpu else None
            least, most = MODEL_GOAL
            within = None if ratio is None else "yes" if least <= ratio <= most else "no"
            yield {
                **row,
                "measured, GB": show(peak / 1e9) if on_gpu else None,
                "model / measured": show(ratio),
                "goal": f"{least} to {most}",
                "met": within or "not measured: torch counts it on a GPU only",
            }


def graphs(studio: Studio, scale: Scale) -> Iterator[Row]:
    """CUDA graphs against none."""
    if torch.device(studio.device).type != "cuda":
        yield {"skipped": "graphs need CUDA"}
        return
    for encoder in scale.encoders:
        for count in (1, scale.together):
            settings = studio.settings(encoder, scale.size, scale.timed)
            requests = studio.requests(settings, count)
            row: Row = {"encoder": encoder, "px": scale.size, "pictures": count}
            seconds = {}
            for name, value in (("without", False), ("with", True)):
                engine = studio.engine(graphs=value)
                make(engine, requests[:1])
                seconds[name] = make(engine, requests).per_iteration
                row[f"ms / iteration, {name}"] = show(1e3 * seconds[name])
            yield {**row, "faster by": show(seconds["without"] / seconds["with"])}


@dataclass(frozen=True)
class Part:
    """A part of the report.

    Attributes:
        title: its heading.
        run: what yields its rows.
        seconds: after which it is ended; what it has yielded by then is kept.
        each: whether encoders run one by one, so that one that fails costs no other its rows.
    """

    title: str
    run: Callable[[Studio, Scale], Iterator[Row]]
    seconds: float
    each: bool = True


PARTS = {
    "checks": Part("Does it work?", checks, 100, each=False),
    "speed": Part(
        "The engine against one process a picture, and against batches of one", speed, 150
    ),
    "precision": Part("bfloat16 against float32", precision, 80),
    "share": Part("Share of the bf16 peak", share, 70),
    "memory": Part("The memory model against torch.cuda.max_memory_allocated", memory, 80),
    "graphs": Part("CUDA graphs against none", graphs, 60),
}
"""In the order of their run: together 540 seconds, which leaves a minute of ten for the start."""
