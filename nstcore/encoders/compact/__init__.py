"""The compact encoder: a narrow VGG-19 that needs no download."""

from nstcore.encoders.compact.architecture import (
    COMPACT_LAYERS,
    COMPACT_WIDTHS,
    Adapter,
    CompactEncoder,
    multiply_adds,
)
from nstcore.encoders.compact.loading import (
    COMPACT_SHA256,
    WEIGHTS_PATH,
    compact_sha256,
    load_compact,
    read_compact,
)

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
