"""Finding, checking and loading an encoder's weights; planning only asks where they are."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nstcore.core.encoders.registry import ENCODERS
from nstcore.errors import WeightsError
from nstcore.store.files import atomic_path, file_sha256, write_json

if TYPE_CHECKING:
    import torch

    from nstcore.core.encoders.base import Encoder

log = logging.getLogger(__name__)


def fetch(encoder: str, weights: str | None, destination: Path, info: Path) -> dict[str, Any]:
    """Bring an encoder's weights into a run: checked, without what no loss needs, quick to load.

    Args:
        encoder: its name.
        weights: a file: for ``vgg19`` a ``.pth`` or ``.safetensors`` file with torchvision's keys, for
            ``compact`` one that the distillation wrote; None for the packaged or downloaded one.
        destination: the ``.safetensors`` file to write.
        info: the JSON to write: name, source and sha256 of the file the weights came from.

    Returns:
        What was written to ``info``.

    Raises:
        WeightsError: if the weights are missing or are not the encoder's.
    """
    spec = ENCODERS[encoder]
    module = spec.load_module()
    path = Path(weights) if weights is not None else module.download()
    with atomic_path(destination) as temporary:
        module.prepare(path, temporary)
    found = {"name": encoder, "source": weights or spec.source, "sha256": file_sha256(path)}
    write_json(info, found)
    log.info("%s: weights from %s, sha256 %s", encoder, found["source"], found["sha256"])
    return found


def locate(encoder: str, weights: str | None) -> Path:
    """The file that an encoder's weights come from, if it is on this machine.

    Raises:
        WeightsError: if it is not there (yet).
    """
    path = Path(weights) if weights is not None else ENCODERS[encoder].find()
    if not path.is_file():
        hint = "" if weights is not None else "; it is downloaded when the run starts"
        raise WeightsError(f"{encoder}: there is no file {path}{hint}")
    return path


def load_encoder(
    settings: Any,
    weights: Path,
    layers: Iterable[str],
    *,
    device: torch.device | str = "cpu",
    half: bool = False,
) -> Encoder:
    """Build the encoder that some settings ask for, no deeper than the layers in use.

    Args:
        settings: a ``Settings``, of which ``encoder``, ``pooling`` and ``padding`` are read.
        weights: file with the weights.
        layers: every layer that will be asked for.
        device: where it computes.
        half: convolve in bfloat16.

    Raises:
        WeightsError: if the file lacks a layer that is used.
    """
    import torch

    spec = ENCODERS[settings.encoder]
    encoder: Encoder = spec.load_module().load(
        weights, depth=spec.deepest(layers), pooling=settings.pooling, padding=settings.padding
    )
    encoder.half_precision = half
    return encoder.to(device).to(memory_format=torch.channels_last)
