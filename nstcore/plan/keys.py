"""Checksums and identities: what makes two files, two targets or two cells the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nstcore.config.run import Output
from nstcore.core.settings import EFFECTS, Settings
from nstcore.store.files import digest

ALGORITHM = 2
"""Raised whenever the same settings would give another picture than before."""

STATISTICS = 1
"""Raised whenever the same style would give other moments than before."""

EVALUATION = 1
"""Raised whenever the same picture would be measured differently than before."""


def style_identity(
    digests: Sequence[str],
    weights: Sequence[float],
    regions: Sequence[tuple[str, str]] | None = None,
) -> list[list[Any]]:
    """What a style is: the digests of its decoded pictures and their weights, in a fixed order.

    Args:
        digests, weights: of every picture.
        regions: of every picture the region that takes its style and the digest of its own guide, each
            perhaps empty; None where they do not count.
    """
    own = regions if regions is not None and any(map(any, regions)) else [()] * len(digests)
    return sorted([d, w, *r] for d, w, r in zip(digests, weights, own, strict=True))


def guide_identity(
    regions: str | None, propagation: str, factors: Mapping[str, float]
) -> dict[str, Any] | None:
    """What the guide of a content adds to the identity of its cells; None without one.

    Args:
        regions: digest of the content's regions.
        propagation: how they reach the layers.
        factors: region -> factor on the style weight.
    """
    if regions is None:
        return None
    named = {name: factor for name, factor in factors.items() if factor != 1}
    return {"regions": regions, "propagation": propagation, "factors": named}


def target_key(
    picture: str,
    size: int,
    encoder: str,
    settings: Settings,
    layers: Sequence[str],
    guide: str | None = None,
) -> str:
    """Identity of the moments of one style picture at one size.

    Args:
        picture: digest of the decoded picture.
        encoder: sha256 of the weights.
        settings: how the encoder pools and pads, and what the size is the size of.
        guide: digest of the picture's regions, if it has any; the settings tell how they propagate.
    """
    values = {
        "statistics": STATISTICS,
        "picture": picture,
        "size": size,
        "encoder": encoder,
        "layers": sorted(layers),
        **{
            name: getattr(settings, name)
            for name, effects in EFFECTS.items()
            if effects.target and not _is_left_out(name, settings)
        },
    }
    if guide is not None:
        values["guide"] = [guide, settings.guide_propagation]
    return digest(values)


def canonical_settings(settings: Settings) -> dict[str, Any]:
    """Settings as far as they can change the image, as their fields declare, in one spelling.

    Two cells that cannot differ are one: settings without an effect are left out, and files count by
    their digests.  Settings that were added later are left out at their defaults, so that cells
    finished before keep their keys.  :func:`guide_identity` has the settings of guides.
    """
    values: dict[str, Any] = {"levels": settings.level_sizes()}
    for name, effects in EFFECTS.items():
        if effects.key is True and not _is_left_out(name, settings):
            values[name] = getattr(settings, name)
        elif callable(effects.key):
            values[name] = effects.key(settings)
    return values


def _is_left_out(name: str, settings: Settings) -> bool:
    effects = EFFECTS[name]
    at_default = getattr(settings, name) == Settings.model_fields[name].default
    return (effects.later and at_default) or not effects.used(settings)


def cell_key(
    settings: Settings,
    *,
    seed: int,
    content: str,
    style: list[list[Any]],
    encoder: str,
    output: Output,
    start: str | None = None,
    guide: dict[str, Any] | None = None,
    alpha: str | None = None,
) -> str:
    """Identity of one cell: equal keys mean the same picture file.

    Args:
        seed: counts only where the settings use it.
        content: digest of the prepared content.
        style: see :func:`style_identity`.
        encoder: sha256 of the weights.
        start: digest of the picture in ``init_file``.
        guide: see :func:`guide_identity`.
        alpha: digest of the transparency that is written into the file; None for none.
    """
    # Quality is a matter of JPEG alone, and transparency of a content that has some.
    unused = {"preserve_alpha"} | ({"quality"} if output.format != "jpg" else set())
    values = {
        "algorithm": ALGORITHM,
        "settings": canonical_settings(settings),
        "seed": seed if settings.uses_seed else None,
        "content": content,
        "style": style,
        "encoder": encoder,
        "output": output.model_dump(exclude=unused),
        "start": start,
    }
    if guide is not None:
        values["guide"] = guide
    if alpha is not None:
        values["alpha"] = alpha
    return digest(values)


def evaluation_key(
    image: str,
    content: str,
    style: list[list[Any]],
    encoder: str,
    size: int,
    regions: str | None = None,
) -> str:
    """Identity of one measurement: the picture's checksum, what it is compared with, and how."""
    return digest(
        {
            "evaluation": EVALUATION,
            "image": image,
            "content": content,
            "style": style,
            "encoder": encoder,
            "size": size,
            **({} if regions is None else {"regions": regions}),
        }
    )
