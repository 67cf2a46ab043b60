"""From a trained student to the file that is shipped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from nstcore.store.files import write_bytes


def export(
    out: Path,
    weights: Mapping[str, Tensor],
    scale: Mapping[str, float],
    widths: Sequence[int],
    notes: Mapping[str, Any],
) -> str:
    """Write a student's weights in half precision, the teacher's scale folded into the adapters.

    Args:
        out: a ``.safetensors`` file, replaced atomically.
        weights: state dict of a ``CompactEncoder``.
        scale: by layer, what the teacher's activations were divided by.
        widths: channels of the five stages.
        notes: how the weights were made; kept in the file's metadata as JSON.

    Returns:
        sha256 of the file.
    """
    tensors = {}
    for key, value in weights.items():
        *kind, layer, part = key.split(".")
        adapter = kind == ["lifts"]
        name = f"adapter.{layer}.{part}" if adapter else f"{layer}.{part}"
        scaled = value.detach().cpu().float() * (scale[layer] if adapter else 1.0)
        tensors[name] = scaled.to(torch.float16).contiguous()
    metadata = {
        "name": "compact",
        "widths": json.dumps(list(widths)),
        "scale": json.dumps({k: round(v, 6) for k, v in scale.items()}),
        "notes": json.dumps(notes, default=str),
    }
    data = save(tensors, metadata)
    write_bytes(out, data)
    return hashlib.sha256(data).hexdigest()
