"""Where the files of a run stand, from the run's folder: the one place that spells their names."""

from __future__ import annotations

from pathlib import Path

from nstcore.config.settings import Settings
from nstcore.grid.names import digest

CONTENT = "inputs/contents/{content}/{size}.png"
CONTENT_FACTS = "inputs/contents/{content}/{size}.json"
STYLE = "inputs/styles/{style}/{index}.png"
STYLE_FACTS = "inputs/styles/{style}/{index}.json"
CONTENT_GUIDE = "inputs/contents/{content}/{size}.guide.npz"
CONTENT_GUIDE_FACTS = "inputs/contents/{content}/{size}.guide.json"
STYLE_GUIDE = "inputs/styles/{style}/{index}.guide.npz"
STYLE_GUIDE_FACTS = "inputs/styles/{style}/{index}.guide.json"
ENCODER = "encoders/{encoder}.safetensors"
ENCODER_FACTS = "encoders/{encoder}.json"
TARGET = "targets/{style}/{target}.safetensors"
RECORD_SUFFIX = ".json"


def record_path(image: Path | str) -> Path:
    """The record beside a picture."""
    return Path(image).with_suffix(RECORD_SUFFIX)


def encoder_id(encoder: str, weights: str | None) -> str:
    """Name of an encoder with its weights: ``vgg19``, or ``vgg19-1a2b3c4d`` for a file."""
    return encoder if weights is None else f"{encoder}-{digest(weights)[:8]}"


def target_id(settings: Settings, layers: tuple[str, ...], size: int) -> str:
    """Name of a style target: what sees, which layers, and at what long side."""
    eye = encoder_id(settings.encoder, settings.weights)
    parts = [eye, settings.pooling, settings.padding, digest(sorted(layers))[:8], str(size)]
    if settings.guide_propagation != "simple":
        parts.append(settings.guide_propagation)
    return "-".join(parts)
