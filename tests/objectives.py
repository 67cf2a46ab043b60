"""Objectives for tests, also with layers and weights that no configuration may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nstcore.core.encoders.vgg import VGG
from nstcore.core.guidance import Guide
from nstcore.core.moments import Moments
from nstcore.core.objective import Objective, build_objective
from nstcore.core.settings import Settings


def objective_of(
    encoder: VGG,
    *,
    content: Mapping[str, Tensor],
    style: Mapping[str, Moments],
    content_weight: Tensor,
    style_weight: Tensor,
    tv_weight: Tensor,
    guides: Mapping[str, Guide] | None = None,
    **settings: Any,
) -> Objective:
    """The objective of unchecked settings, with weights (N,) for each picture."""
    return build_objective(
        encoder,
        Settings.model_construct(**settings),
        content=content,
        style=style,
        guides=guides,
        weights={
            "content_weight": content_weight,
            "style_weight": style_weight,
            "tv_weight": tv_weight,
        },
    )
