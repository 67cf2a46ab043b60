"""Pictures are finished where there is too little memory for them: in a process with a real limit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

CHILD = """
import json, resource, sys
from functools import partial
from pathlib import Path
import numpy as np, torch
from nstcore.core.settings import Settings
from nstcore.core.encoders.vgg import VGG
from nstcore.core.encoders import torchvision_index
from nstcore.core.stylize import StylizeTask
from nstcore.resources import memory_model as memory
from nstcore.jobs.engine import Engine, StylizeRequest
from nstcore.core.targets import image_moments, save_moments

size, spare, share, folder = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])
torch.manual_seed(0)
settings = Settings(encoder="vgg19", size=1024, pyramid_start=1024, iterations=2, tolerance=0)
encoder = VGG(depth="relu5_1")
state = {}
for layer, convolution in encoder.convolutions.items():
    torch.nn.init.kaiming_normal_(convolution.weight)
    torch.nn.init.normal_(convolution.bias, std=0.1)
    for part, value in convolution.named_parameters():
        state[f"features.{torchvision_index(layer)}.{part}"] = value.detach()
torch.save(state, folder / "vgg19.pth")
style = np.random.default_rng(1).random((96, 128, 3), dtype=np.float32)
content = np.random.default_rng(2).random((768, 1024, 3), dtype=np.float32)

def jobs_at(size):
    own = settings.model_copy(update={"size": size, "pyramid_start": size})
    target = folder / f"{size}.safetensors"
    moments = image_moments(encoder, style, size, list(own.style_layers))
    save_moments(target, moments, {})
    return [
        StylizeRequest(f"{w}", one, (size, size * 3 // 4), [target], folder / "vgg19.pth",
            partial(StylizeTask, content[: size * 3 // 4, :size], (), one))
        for w in (1.0, 10.0)
        for one in [own.model_copy(update={"style_weight": w})]
    ]

# What is imported at the first use would otherwise take its address space from the limit.
list(Engine("cpu", 2).make(jobs_at(64)))
jobs = jobs_at(size)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
limit = used + spare * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
memory.MEMORY_SHARE = share  # above 1: the estimate is fooled, and memory really runs out
found = []
for index, made in Engine("cpu", 2).make(jobs):
    image = None if made.result is None else made.result.image
    found.append({
        "reason": made.reason,
        "shape": None if image is None else image.shape,
        "moved": None if image is None else float(np.abs(image - content[: size * 3 // 4, :size]).mean()),
        **{k: made.metadata[k] for k in ("batch_size", "tile", "degraded")},
    })
print(json.dumps(found))
"""


def _make(folder: Path, size: int, spare: int, share: float) -> tuple[list[dict[str, Any]], str]:
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(size), str(spare), str(share), str(folder)],
        capture_output=True,
        text=True,
        timeout=600,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            # A fixed number of arenas: threads' address space is no memory, but counts.
            "MALLOC_ARENA_MAX": "1",
        },
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout.splitlines()[-1]), child.stderr


@pytest.mark.parametrize(
    ("size", "spare", "share"),
    [(1024, 2600, 0.6), (768, 1300, 100.0)],
    ids=["1024 px, planned", "768 px, really out of memory"],
)
def test_vgg19_with_too_little_for_one_picture(tmp_path: Path, size: int, spare: int, share: float):
    found, said = _make(tmp_path, size, spare, share)
    assert [entry["reason"] for entry in found] == [None, None], said
    for entry in found:
        assert entry["shape"] == [size * 3 // 4, size, 3]
        assert entry["moved"] > 1e-4
        assert entry["batch_size"] == 1
        assert entry["tile"] in (256, 512)
        assert entry["degraded"] is None


def test_nothing_helps_where_there_is_next_to_nothing(tmp_path: Path):
    found, _ = _make(tmp_path, 1024, 60, 100.0)
    assert len(found) == 2
    for entry in found:
        assert "memory" in entry["reason"].lower()
        assert entry["shape"] is None
