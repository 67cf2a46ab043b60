"""Finding, checking and loading an encoder's weights."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nstcore.core.encoders.layers import LAYERS, torchvision_index
from nstcore.errors import WeightsError
from nstcore.store.files import atomic_path, file_sha256, write_json

log = logging.getLogger(__name__)

PACKAGED_SOURCE = "nstcore"
TORCHVISION_SOURCE = "torchvision:VGG19_Weights.IMAGENET1K_V1"

WEIGHTS_PATH = Path(__file__).parent / "compact.safetensors"
"""The compact encoder's weights inside the package."""


def fetch(encoder: str, weights: str | None, destination: Path, facts: Path) -> dict[str, Any]:
    """Bring an encoder's weights into a run: checked, without what no loss needs, quick to load.

    Args:
        encoder: ``compact`` or ``vgg19``.
        weights: for ``vgg19`` a ``.pth`` or ``.safetensors`` file with torchvision's keys, or None
            for torchvision's own download; for ``compact`` a file that the distillation wrote, or
            None for the one in this package.
        destination: the ``.safetensors`` file to write.
        facts: the JSON to write beside it: name, source and sha256 of the file the weights came from.

    Returns:
        What was written to ``facts``.

    Raises:
        WeightsError: if the weights cannot be had or are not the encoder's.
    """
    if encoder == "compact":
        path = _compact_file(weights)
        found = {"name": encoder, "source": weights or PACKAGED_SOURCE}
        with atomic_path(destination) as temporary:
            shutil.copyfile(path, temporary)
    else:
        from safetensors.torch import save_file

        path = Path(weights) if weights is not None else torchvision_file()
        kept = _vgg19_state(path)
        found = {"name": encoder, "source": weights or TORCHVISION_SOURCE}
        with atomic_path(destination) as temporary:
            save_file(kept, temporary)
    found["sha256"] = file_sha256(path)
    write_json(facts, found)
    log.info("%s: weights from %s, sha256 %s", encoder, found["source"], found["sha256"])
    return found


def _compact_file(weights: str | None) -> Path:
    """A file with the compact encoder's weights that can be loaded."""
    from nstcore.core.encoders.compact import load_compact

    path = WEIGHTS_PATH if weights is None else Path(weights)
    try:
        load_compact(path)
    except WeightsError as error:
        if weights is None:
            raise
        raise WeightsError(
            f"{error}; for VGG-19's weights set `encoder: vgg19`, or name both: "
            "`weights: {vgg19: …, compact: …}`"
        ) from None
    return path


def _vgg19_state(path: Path) -> dict[str, Any]:
    """What losses can need of VGG-19's weights, checked, in single precision."""
    import torch

    state = read_state(path)
    for key in required_keys("relu5_1"):
        if key not in state:
            raise WeightsError(
                f"{path}: has no `{key}`; give a state dict of torchvision's VGG-19 "
                "(`features.0.weight` and so on)"
            )
    for key, value in state.items():
        if key in required_keys() and not isinstance(value, torch.Tensor):
            raise WeightsError(f"{path}: `{key}` is a {type(value).__name__}; a tensor is needed")
    # The layers after relu5_1 are seldom used and seldom shipped: kept where they are there.
    kept = {key: state[key].float().contiguous() for key in required_keys() if key in state}
    _check_shapes(path, kept)
    return kept


def required_keys(depth: str = LAYERS[-1]) -> list[str]:
    """Torchvision's names of the tensors of VGG-19 up to a layer."""
    return [
        f"features.{torchvision_index(layer)}.{part}"
        for layer in LAYERS[: LAYERS.index(depth) + 1]
        for part in ("weight", "bias")
    ]


def read_state(path: Path) -> Mapping[str, Any]:
    """The tensors in a ``.pth`` (never unpickling code) or ``.safetensors`` file.

    Raises:
        WeightsError: if there is no such file or it is neither.
    """
    if not path.is_file():
        raise WeightsError(f"weights: there is no file {path} (paths start from {Path.cwd()})")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise WeightsError(f"{path}: is no safetensors file ({error})") from None
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything at all
        if isinstance(error, MemoryError) or "memory" in str(error):
            raise MemoryError(f"{path}: there is not enough memory to load it ({error})") from None
        log.info("%s cannot be loaded", path, exc_info=True)
        raise WeightsError(
            f"{path}: is no state dict that can be loaded safely; save it with "
            "torch.save(model.state_dict(), …)"
        ) from None
    if not isinstance(state, Mapping):
        raise WeightsError(f"{path}: holds a {type(state).__name__}; a state dict is needed")
    return state


def _check_shapes(path: Path, state: Mapping[str, Any]) -> None:
    from nstcore.core.encoders.vgg import VGG

    depth = next(
        layer for layer in reversed(LAYERS) if f"features.{torchvision_index(layer)}.bias" in state
    )
    try:
        VGG(depth=depth).load_torchvision(state)
    except KeyError as error:
        raise WeightsError(
            f"{path}: has no {error} although it goes down to {depth}; complete it, or leave out "
            "everything after relu5_1"
        ) from None
    except ValueError as error:
        raise WeightsError(f"{path}: is not VGG-19: {error}") from None


def locate(encoder: str, weights: str | None) -> Path:
    """The file that an encoder's weights come from, if it is on this machine.

    Raises:
        WeightsError: if it is not there (yet).
    """
    path = Path(weights) if weights is not None else _expected(encoder)
    if not path.is_file():
        hint = "" if weights is not None else "; it is downloaded when the run starts"
        raise WeightsError(f"{encoder}: there is no file {path}{hint}")
    return path


def _expected(encoder: str) -> Path:
    """Where an encoder's weights are if the configuration names no file."""
    if encoder == "compact":
        return WEIGHTS_PATH
    return torchvision_cache()


def torchvision_cache() -> Path:
    """Where torchvision keeps the file that it downloads."""
    home = os.environ.get("TORCH_HOME")
    base = Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    return base.expanduser() / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth"


def torchvision_file() -> Path:
    """Torchvision's VGG-19, downloaded on first use and checked against the hash in its name.

    Raises:
        WeightsError: if it is not here and cannot be downloaded.
    """
    path = torchvision_cache()
    if path.is_file():
        return path
    import torch
    from torchvision.models import VGG19_Weights

    log.info("downloading VGG-19 (548 MB) to %s", path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        url = VGG19_Weights.IMAGENET1K_V1.url
        # torch's convention: the file's name ends in the beginning of its sha256.
        prefix = Path(url).stem.rpartition("-")[2]
        torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=False)
    except (OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"vgg19: the weights could not be downloaded ({reason}). Three ways to get them: run once "
            f"where there is internet; or copy vgg19-dcbb9e9d.pth to {path.parent}; or set `weights:` to "
            "a .pth or .safetensors file with torchvision's VGG-19"
        ) from None
    return path
