"""How much memory a descent takes: counted, as torch keeps it, and as real processes take it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from nstcore.core.encoders import VGG19
from nstcore.core.encoders.compact import CompactEncoder
from nstcore.core.encoders.vgg import VGG
from nstcore.core.guidance import layer_guides
from nstcore.core.moments import style_moments
from nstcore.core.objective import build_objective
from nstcore.core.settings import Settings
from nstcore.resources import memory_model as memory
from nstcore.resources.device_memory import is_out_of_memory
from nstcore.resources.memory_model import (
    LEAST_HISTORY,
    Budget,
    fit_batch,
    kept_values,
    less_memory,
    peak_bytes,
)

HISTORY = Settings().history
BIG: dict[str, Any] = {"size": 4096, "pyramid_start": 4096}

CASES: list[dict[str, Any]] = [
    {"encoder": "vgg19"},
    {"encoder": "compact"},
    {"encoder": "vgg19", "pooling": "avg"},
    {"encoder": "compact", "pooling": "l2"},
    {"encoder": "compact", "padding": "replicate"},
    {"encoder": "vgg19", "content_layers": {"relu3_1": 1}, "style_layers": {"relu2_2": 1}},
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(
    ("device", "half"), [("cpu", False), ("cuda", False), ("cpu", True), ("cuda", True)]
)
@pytest.mark.parametrize("regions", [0, 2])
def test_what_autograd_keeps_is_counted(
    case: dict[str, Any], device: str, half: bool, regions: int
) -> None:
    """Saved tensors of one evaluation, by torch's own hooks; Gram matrices left out."""
    settings = Settings(**case)
    # In float64 a CPU takes Gram matrices as a GPU does.
    dtype = torch.float32 if device == "cpu" or half else torch.float64
    width, height = 96, 80  # activations of no layer are as many as a matrix has entries
    options: Any = {
        "depth": settings.layers[-1],
        "pooling": settings.pooling,
        "padding": settings.padding,
    }
    encoder = CompactEncoder(**options) if settings.encoder == "compact" else VGG(**options)
    encoder.to(dtype).to(memory_format=torch.channels_last)
    if half:
        encoder.halve()
    image = torch.rand(1, 3, height, width, dtype=dtype)
    one = torch.ones(1, dtype=dtype)
    guides = None
    if regions:
        masks = torch.rand(regions, height, width, dtype=dtype)
        guides = layer_guides(VGG19, masks, settings.style_layers, "simple", "ab")
    objective = build_objective(
        encoder,
        settings,
        content=encoder(image, list(settings.content_layers)),
        style=style_moments(encoder, image, list(settings.style_layers), guides),
        guides=guides,
        weights={"content_weight": one, "style_weight": one, "tv_weight": one},
    )
    channels = {64, 128, 256, 512, 16, 32, 17, 33, 65, 129, 257}
    targets = {loss.target.data_ptr() for loss in objective.content.values()}
    # Counted apart: all pictures may share them.
    targets |= {guide.weights.data_ptr() for guide in (guides or {}).values()}
    kept: dict[int, float] = {}
    alive: list[torch.Tensor] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        square = tensor.numel() in {
            many * count**2 for count in channels for many in (1, max(regions, 1))
        }
        filters = tensor.dim() == 4 and tensor.shape[-1] in (1, 3)
        if not (square or filters or tensor.data_ptr() in targets):
            # Where a maximum was is a whole number of 8 bytes in any case.
            whole = not tensor.is_floating_point()
            kept[storage.data_ptr()] = storage.nbytes() / (4 if whole else dtype.itemsize)
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        objective(image.clone().requires_grad_())
    counted = sum(kept_values(settings, width, height, device, regions, half).values())
    counted += (7.5 if half else 9) * width * height
    assert sum(kept.values()) == pytest.approx(counted, rel=0.015)


def test_what_costs_more_memory_is_estimated_to() -> None:
    def need(width: int = 256, height: int = 256, batch: int = 1, **given: Any) -> float:
        return peak_bytes(Settings(**given), width, height, batch)

    assert need(512, 256) == need(256, 512) > 1.5 * need()
    assert need(batch=4) - need(batch=2) == pytest.approx(2 * (need(batch=2) - need()))
    assert need(history=100) > need() > need(optimizer="adam")
    assert need(encoder="vgg19", history=1) > 2 * need(history=1)
    shallow = {"relu1_1": 1.0}
    layers = {"style_layers": shallow, "content_layers": shallow}
    assert need(encoder="vgg19", **layers) < need(encoder="vgg19")
    assert peak_bytes(Settings(), 2048, 2048, 1, tile=512) < need(2048, 2048)
    float32, bfloat16 = (
        peak_bytes(Settings(encoder="vgg19"), 512, 512, 64, device="cuda", half=half)
        for half in (False, True)
    )
    assert 0.3 * float32 < bfloat16 < 0.6 * float32
    counts = [peak_bytes(Settings(), 512, 384, 2, regions=regions) for regions in range(5)]
    assert counts == sorted(counts)


def check_peak(side: int, batch: int, regions: int = 0, **given: Any) -> None:
    """Compare the estimate with what a process of its own allocates."""
    probe = Path(__file__).with_name("memory_probe.py")
    words = [sys.executable, str(probe), str(side), str(batch), json.dumps(given), str(regions)]
    # Blocks from 64 kB on leave the address space when they are freed: what is left is in use.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    said = subprocess.run(words, check=True, capture_output=True, text=True, env=environment).stdout
    measured = json.loads(said)["measured"]
    predicted = peak_bytes(Settings(**given), side, side, batch, regions=regions)
    # The table of all cases: pytest -m slow -rP tests/resources/test_memory.py
    sys.stdout.write(
        f"{side} px, {batch}, {given}: measured {measured / 1e6:.0f} MB, "
        f"predicted {predicted / 1e6:.0f} MB, ratio {predicted / measured:.3f}\n"
    )
    # The estimate has room for freed blocks that fit nothing, which are not counted here.
    assert measured <= predicted <= 1.5 * measured


@pytest.mark.slow
@pytest.mark.parametrize(("side", "batch", "history"), [(256, 1, 20), (384, 4, 5)])
@pytest.mark.parametrize("encoder", ["compact", "vgg19"])
def test_the_estimate_is_what_a_process_allocates(
    encoder: str, side: int, batch: int, history: int
) -> None:
    check_peak(side, batch, encoder=encoder, history=history)


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [
        {"optimizer": "adam"},
        {"pooling": "avg"},
        {"pooling": "l2"},
        {"padding": "replicate"},
        {"style_layers": ["relu1_1"], "content_layers": ["relu1_1"]},
        {"style_layers": ["relu1_2", "relu2_2"], "content_layers": ["relu3_1"]},
    ],
    ids=str,
)
def test_so_it_is_for_other_settings(given: dict[str, Any]) -> None:
    check_peak(512, 2, **given)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["compact", "vgg19"])
def test_so_it_is_with_regions(encoder: str) -> None:
    check_peak(384, 2, regions=4, encoder=encoder, history=5)


def fit(available: float, settings: Settings, width: int, height: int, **options: Any) -> Budget:
    """What fits where one batch may take so many bytes."""
    # A byte more: dividing by the share and multiplying again rounds.
    free = (available + 1) / memory.MEMORY_SHARE
    return fit_batch(settings, width, height, "cpu", free, **options)


class TestFit:
    def test_as_many_as_fit_and_no_more_than_there_are(self) -> None:
        seven = peak_bytes(Settings(), 256, 256, 7)
        assert fit(seven, Settings(), 256, 256) == Budget(7, HISTORY, None)
        assert fit(seven, Settings(), 256, 256, count=3) == Budget(3, HISTORY, None)
        assert fit(seven, Settings(), 256, 256, count=9).batch == 7
        assert fit(seven, Settings(), 256, 256, regions=30).batch < 7
        assert fit(seven - 1000, Settings(), 256, 256).batch == 6

    def test_tiles_come_first(self) -> None:
        settings = Settings(**BIG)
        whole = peak_bytes(settings, 4096, 3072, 1)
        assert fit(whole, settings, 4096, 3072) == Budget(1, HISTORY, None)
        for side in memory.TILES:
            need = peak_bytes(settings, 4096, 3072, 1, tile=side)
            assert need < whole
            assert fit(need, settings, 4096, 3072) == Budget(1, HISTORY, side)

    def test_less_history_where_the_image_itself_is_too_large(self) -> None:
        settings = Settings(**BIG)
        for history, found in ((12, 10), (8, 5), (5, 5)):
            need = peak_bytes(settings, 4096, 4096, 1, history=history, tile=256)
            budget = fit(need, settings, 4096, 4096)
            assert (budget.batch, budget.history, budget.fits) == (1, found, True)
            assert budget.tile is not None

    def test_where_nothing_fits_the_least_is_tried(self) -> None:
        assert fit(0, Settings(**BIG), 4096, 4096) == Budget(1, 5, 256, fits=False)
        # Adam has no history to shorten, and an image no larger than a tile gains nothing by it.
        small = fit(0, Settings(optimizer="adam"), 256, 256)
        assert small == Budget(1, HISTORY, None, fits=False)
        assert fit(0, Settings(**BIG, history=3), 4096, 4096).history == 3

    def test_a_tile_that_is_given_stays(self) -> None:
        settings = Settings(**BIG)
        need = peak_bytes(settings, 2048, 2048, 3, tile=512)
        assert fit(need, settings, 2048, 2048, tile=512) == Budget(3, HISTORY, 512)
        assert fit(need, settings, 2048, 2048, count=2, tile=512) == Budget(2, HISTORY, 512)
        need = peak_bytes(settings, 4096, 4096, 1, history=5, tile=512)
        assert fit(need, settings, 4096, 4096, tile=512) == Budget(1, 5, 512)

    def test_no_tensor_has_more_values_than_32_bits_count(self) -> None:
        pixels, limit = 512**2, 2**31 - 1
        compact, vgg = (Settings(encoder=name, history=20) for name in ("compact", "vgg19"))
        # Of the compact encoder's images the pairs of L-BFGS are the largest, of Adam's activations.
        assert fit(1e15, compact, 512, 512).batch == limit // (2 * 20 * 3 * pixels)
        adam = vgg.model_copy(update={"optimizer": "adam"})
        assert fit(1e15, adam, 512, 512).batch == limit // (64 * pixels)
        # A single image whose first activations are more is computed in tiles.
        assert fit(1e15, adam, 8192, 4096).tile == memory.TILES[0]

    def test_after_running_out_it_is_tried_with_less_and_less(self) -> None:
        settings = Settings(**BIG)
        tried: list[tuple[int, int | None]] = [(HISTORY, None)]
        while (less := less_memory(settings, 4096, 4096, *tried[-1])) is not None:
            tried.append(less)
        assert tried == [
            *((HISTORY, side) for side in (None, 1024, 512, 256)),
            (LEAST_HISTORY, 256),
        ]
        # Tiles are of no use to an image that fits into one.
        assert less_memory(settings, 300, 200, HISTORY, None) == (LEAST_HISTORY, None)
        adam = Settings(**BIG, optimizer="adam")
        assert less_memory(adam, 300, 200, HISTORY, None) is None


# Each attempt is a process of its own, forked when all is loaded, whose address space hardly grows.
PROVOKE = """
import os, resource
import numpy, psutil, torch
from nstcore.resources.device_memory import is_out_of_memory
torch.set_num_threads(1)
inputs = [torch.rand(1, 8 * k, 24, 24) for k in range(1, 9)]
filters = [torch.rand(16, 8 * k, 3, 3) for k in range(1, 9)]
def convolve():
    for x, w in zip(inputs, filters):
        torch.nn.functional.conv2d(x, w, padding=1)
attempts = [
    ("torch", 1e8, lambda: torch.empty(10**9)),
    ("python", 1e8, lambda: bytearray(10**9)),
    ("numpy", 1e8, lambda: numpy.ones(10**9)),
    *(("convolution", margin * 1e6, convolve) for margin in (0, 0.5, 1, 2, 3, 4, 5, 8)),
]
for name, margin, act in attempts:
    if os.fork() == 0:
        limit = int(psutil.Process().memory_info().vms + margin)
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        try:
            act()
            said = "enough"
        except BaseException as error:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
            said = f"{is_out_of_memory(error)} {type(error).__name__}: {str(error)[:150]!r}"
        os.write(1, f"{name}: {said}\\n".encode())
        os._exit(0)
    assert os.wait()[1] == 0
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space")
def test_memory_that_is_really_short_is_recognized() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROVOKE], check=True, capture_output=True, text=True
    )
    said = run.stdout.splitlines()
    assert len(said) == 11
    failures = [line for line in said if not line.endswith("enough")]
    assert {line.split(":")[0] for line in failures} == {"torch", "python", "numpy", "convolution"}
    for line in failures:
        assert line.split()[1] == "True", line


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
        RuntimeError("could not create a primitive"),
        RuntimeError("could not execute a primitive"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError(
            "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"
        ),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        MemoryError(),
    ],
)
def test_short_memory_has_many_names(error: BaseException) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("the pictures of a batch must agree: out of memory of what was meant"),
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
        RuntimeError("could not create a primitive descriptor for the matmul primitive"),
        KeyboardInterrupt(),
    ],
)
def test_other_errors_are_not_taken_for_it(error: BaseException) -> None:
    assert not is_out_of_memory(error)
