"""The compact encoder: a narrow VGG-19 that needs no download."""

from nstcore.encoders.compact.architecture import (
    COMPACT_LAYERS,
    Adapter,
    CompactEncoder,
    multiply_adds,
)
from nstcore.encoders.compact.loading import (
    COMPACT_SHA256,
    compact_sha256,
    load_compact,
    read_compact,
)
from nstcore.encoders.layers import COMPACT_WIDTHS
from nstcore.encoders.weights import WEIGHTS_PATH

__all__ = [
    "COMPACT_LAYERS",
    "COMPACT_SHA256",
    "COMPACT_WIDTHS",
    "WEIGHTS_PATH",
    "Adapter",
    "CompactEncoder",
    "compact_sha256",
    "load_compact",
    "multiply_adds",
    "read_compact",
]
