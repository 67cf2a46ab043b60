"""Which pictures may be optimized in one batch; no torch, so that batches can be counted without it."""

from __future__ import annotations

from nstcore.core.settings import Settings

WEIGHTS = ("content_weight", "style_weight", "tv_weight", "learning_rate")
"""Settings that may differ between the pictures of one batch; all others shape the computation."""

INPUTS = ("weights", "init_file", "color_match", "luminance_space")
"""Settings that have had their effect when a picture's task is made."""


def batch_key(settings: Settings) -> str:
    """What must be equal for two pictures of one size to be optimized in one batch."""
    return settings.model_dump_json(exclude={*WEIGHTS, *INPUTS, "region_weights"})
