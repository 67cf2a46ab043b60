"""The student's own half-stylized images, kept on disk to learn from.

A student that has only seen photographs is wrong exactly where an optimizer leads it: the optimizer
seeks images that *the student* takes for the style, and noise is the cheapest of them.  So the
student stylizes small images now and then, the teacher evaluates all their stages, and the student
learns from its mistakes (Ross et al., *DAgger*, 2011, is the same idea for control).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nstcore.core.encoders import EVAL_CONTENT_LAYER, EVAL_STYLE_LAYERS
from nstcore.core.encoders.compact import CompactEncoder
from nstcore.core.losses.base import relative_error
from nstcore.store.files import write_json
from tools.distill.matching import lifted_gram
from tools.distill.training_images import Photos, draw_style, to_tensor

SNAPSHOTS = 4  # images kept of each stylization, from its start to its end


def lifted_grams(encoder: CompactEncoder, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gram matrices (N, C, C) in the teacher's space of every style layer."""
    return {layer: lifted_gram(encoder.lift(layer), features[layer]) for layer in EVAL_STYLE_LAYERS}


def style_errors(found: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
    """Relative squared error of the Gram matrices, (layers, N), in the order of ``EVAL_STYLE_LAYERS``."""
    return torch.stack([relative_error(found[layer], target[layer]) for layer in EVAL_STYLE_LAYERS])


def content_error(encoder: CompactEncoder, features: Tensor, target: Tensor) -> Tensor:
    """||A (F - P)||^2 / ||A P + b||^2 for each image: (N, c, H, W) twice -> (N,)."""
    adapter = encoder.lift(EVAL_CONTENT_LAYER)
    energy = adapter(target).square().flatten(1).sum(1)
    change = torch.einsum("Cc,nchw->nChw", adapter.weight, features - target)
    error: Tensor = change.square().flatten(1).sum(1) / energy.clamp_min(1e-6)
    return error


def stylize(
    encoder: CompactEncoder,
    start: Tensor,
    content: Tensor,
    style: Tensor,
    *,
    style_weight: Tensor,
    layer_weights: Tensor,
    iterations: int,
    method: str = "adam",
    rate: float = 0.03,
    snapshots: int = SNAPSHOTS,
) -> list[Tensor]:
    """Stylize a batch of small images under the student.

    Args:
        encoder: the student, in evaluation; its weights receive no gradient.
        start: (N, 3, H, W) first images.
        content: (N, 3, H, W) images whose activations are to be kept.
        style: (N, 3, H', W') images whose moments are to be taken.
        style_weight: (N,) weight of the style error over the content error.
        layer_weights: (layers, N), summing to 1 over layers.
        iterations: steps of the optimizer.
        method: ``adam`` or ``lbfgs``.
        rate: Adam's step.
        snapshots: how many images of the way to return.

    Returns:
        ``snapshots`` batches (N, 3, H, W); the last one is the result.
    """
    layers = [*EVAL_STYLE_LAYERS, EVAL_CONTENT_LAYER]
    with torch.no_grad():
        target = lifted_grams(encoder, encoder(style, EVAL_STYLE_LAYERS))
        kept = encoder(content, [EVAL_CONTENT_LAYER])[EVAL_CONTENT_LAYER]
    image = start.detach().clone(memory_format=torch.contiguous_format).requires_grad_(True)
    optimizer: torch.optim.Optimizer
    if method == "lbfgs":
        optimizer = torch.optim.LBFGS(
            [image], max_iter=1, max_eval=4, history_size=10, line_search_fn="strong_wolfe"
        )
    else:
        optimizer = torch.optim.Adam([image], lr=rate, betas=(0.9, 0.99))

    def loss() -> Tensor:
        optimizer.zero_grad()
        features = encoder(image, layers)
        errors = (style_errors(lifted_grams(encoder, features), target) * layer_weights).sum(0)
        kept_error = content_error(encoder, features[EVAL_CONTENT_LAYER], kept)
        total = ((style_weight * errors + kept_error) / (style_weight + 1)).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total.detach()

    moments_to_keep = {round(iterations * (i + 1) / snapshots) for i in range(snapshots)}
    found: list[Tensor] = []
    for iteration in range(1, iterations + 1):
        optimizer.step(loss)  # type: ignore[no-untyped-call,unused-ignore]
        if method == "adam":
            with torch.no_grad():
                image.clamp_(0, 1)
        if iteration in moments_to_keep:
            found.append(image.detach().nan_to_num(0.5).clamp(-0.5, 1.5).clone())
    return found


def draw_run(
    encoder: CompactEncoder,
    photos: Photos,
    seed: tuple[int, ...],
    *,
    size: int,
    count: int,
    iterations: int,
    device: torch.device,
) -> Tensor:
    """Stylize ``count`` random contents to random styles in a random manner.

    Returns:
        (count, SNAPSHOTS, 3, size, size), in the order of their making.
    """
    generator = np.random.default_rng(seed)
    content = to_tensor([photos.crop(generator, size) for _ in range(count)]).to(device)
    style = to_tensor([draw_style(photos, generator, size) for _ in range(count)]).to(device)
    noise = torch.from_numpy(generator.normal(0.5, 0.2, tuple(content.shape))).to(content)
    share = torch.from_numpy(generator.choice([0.0, 0.0, 0.0, 0.1, 0.3, 1.0], count)).to(content)
    share = share.view(-1, 1, 1, 1)
    start = content * (1 - share) + noise * share
    decay = generator.choice([1.0, 1.0, 2.0, 4.0], count)  # 1: equal layers; 4: shallow layers rule
    powers = np.arange(len(EVAL_STYLE_LAYERS))[:, None]
    layer_weights = torch.from_numpy(decay[None, :] ** -powers).to(content)
    options: dict[str, Any] = {
        "style_weight": torch.from_numpy(10 ** generator.uniform(0, 3.5, count)).to(content),
        "layer_weights": layer_weights / layer_weights.sum(0),
        "iterations": iterations,
        "method": "lbfgs" if generator.random() < 0.6 else "adam",
        "rate": float(10 ** generator.uniform(-2, -1.2)),
    }
    if generator.random() < 0.5:  # a pyramid, as real images are made
        small = (F.avg_pool2d(x, 2) for x in (start, content, style))
        coarse = stylize(encoder, *small, **options, snapshots=1)[-1]
        start = F.interpolate(coarse, scale_factor=2.0, mode="bicubic")
    finished = stylize(encoder, start, content, style, **options)
    return torch.stack(finished, dim=1)


class Replay:
    """A ring of stylization runs: on a CPU in a memory-mapped file, which survives a kill.

    On a GPU they stay in its memory, since a disk would be too slow for them; a resumed training
    begins to collect anew.

    Args:
        folder: holds ``replay.f16`` and ``replay.json``.
        capacity: runs kept; the oldest is overwritten.
        size: side of the images in pixels.
        device: where they are needed.
    """

    def __init__(
        self, folder: Path, capacity: int, size: int, device: torch.device | str = "cpu"
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._index = folder / "replay.json"
        self.size = size
        shape = (capacity, SNAPSHOTS, 3, size, size)
        data = folder / "replay.f16"
        self.written = 0
        self._shape = shape
        self._mapped: np.memmap[Any, np.dtype[np.float16]] | None = None
        if torch.device(device).type != "cpu":
            self._data = torch.zeros(shape, dtype=torch.float16, device=device)
            return
        known = json.loads(self._index.read_text("utf-8")) if self._index.is_file() else {}
        if data.is_file() and known.get("shape") == list(shape):
            self.written = int(known["written"])
            self._mapped = np.memmap(data, np.float16, "r+", shape=shape)
        else:
            self._mapped = np.memmap(data, np.float16, "w+", shape=shape)
        self._data = torch.from_numpy(self._mapped)  # the same memory

    def __len__(self) -> int:
        return min(self.written, self._shape[0])

    def add(self, runs: Tensor) -> None:
        """Store runs (N, SNAPSHOTS, 3, size, size)."""
        for run in runs:
            self._data[self.written % self._shape[0]] = run.to(self._data)
            self.written += 1
        if self._mapped is None:
            return
        self._mapped.flush()
        write_json(self._index, {"shape": list(self._shape), "written": self.written})

    def draw_pairs(
        self, generator: np.random.Generator, count: int, size: int
    ) -> tuple[Tensor, Tensor]:
        """Two stages of each of ``count`` runs, both (count, 3, size, size), mirrored alike."""
        first, second = [], []
        for _ in range(count):
            run = self._data[int(generator.integers(len(self)))]
            a, b = generator.choice(SNAPSHOTS, 2, replace=False)
            top, left = generator.integers(self.size - size + 1, size=2)
            crop = run[:, :, top : top + size, left : left + size]
            if generator.random() < 0.5:
                crop = crop.flip(-1)
            first.append(crop[int(a)])
            second.append(crop[int(b)])
        return torch.stack(first).float(), torch.stack(second).float()
