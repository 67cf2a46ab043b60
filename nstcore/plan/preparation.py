"""What has to be prepared before cells are made: encoders and style targets, by their ids."""

from __future__ import annotations

from collections.abc import Iterable

from nstcore.core.settings import Settings
from nstcore.plan import paths
from nstcore.plan.plan import Plan


def encoders(plan: Plan) -> dict[str, tuple[str, str | None]]:
    """Encoder id -> name and weights file, of everything that the run optimizes or evaluates with."""
    return _encoders([*plan.settings, evaluation_settings(plan)])


def refined_encoders(plan: Plan) -> dict[str, tuple[str, str | None]]:
    """The same of what only refined cells need."""
    known = encoders(plan)
    found = _encoders(plan.refined_settings)
    return {name: value for name, value in found.items() if name not in known}


def _encoders(settings: Iterable[Settings]) -> dict[str, tuple[str, str | None]]:
    return {paths.encoder_id(s.encoder, s.weights): (s.encoder, s.weights) for s in settings}


def evaluation_settings(plan: Plan) -> Settings:
    """Settings of the encoder that evaluates: it pools and pads as it was trained."""
    return Settings(**plan.evaluation)


TargetRequest = tuple[Settings, tuple[str, ...], int]
"""Settings of the encoder, layers and size."""

Requests = dict[str, TargetRequest]
"""Target id -> what it is."""


def requests_of(settings: Settings) -> Requests:
    """The target of every level of one image.

    None where the style's colors depend on the content: the job of the cell makes such targets itself.
    """
    if settings.color != "style":
        return {}
    layers = style_layers(settings)
    return {
        paths.target_id(settings, layers, size): (settings, layers, size)
        for size in style_sizes(settings)
    }


def target_requests(plan: Plan) -> Requests:
    """Every target that a style needs for the grid and its evaluation."""
    found: Requests = {}
    for settings in plan.settings:
        for name, request in requests_of(settings).items():
            found.setdefault(name, request)
    settings = evaluation_settings(plan)
    found.setdefault(
        evaluation_target(plan), (settings, settings.encoder_spec.evaluation_moments, settings.size)
    )
    return found


def refined_requests(plan: Plan) -> Requests:
    """Every target that only refined cells need."""
    found: Requests = {}
    for settings in plan.refined_settings:
        found |= requests_of(settings)
    known = target_requests(plan)
    return {name: request for name, request in found.items() if name not in known}


def evaluation_target(plan: Plan) -> str:
    """Id of the target that every finished image of a style is measured against."""
    settings = evaluation_settings(plan)
    return paths.target_id(settings, settings.encoder_spec.evaluation_moments, settings.size)


def style_layers(settings: Settings) -> tuple[str, ...]:
    """The layers whose style loss counts."""
    return tuple(layer for layer, weight in settings.style_layers.items() if weight > 0)


def style_sizes(settings: Settings) -> list[int]:
    """Size of the style at every level, coarse to fine."""
    return [settings.style_size(size) for size in settings.level_sizes()]
