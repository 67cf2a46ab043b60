"""Whether the regions of contents and of styles go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nstcore.plan.plan import Plan


Pictures = tuple[str, int]
"""A style and the number of its picture."""


def named_regions(plan: Plan) -> tuple[dict[str, list[str]], dict[Pictures, list[str]]]:
    """Regions that the configuration itself names, of contents and of styles' pictures.

    Those of guides in colours stand in files, which a plan does not read.
    """
    contents = {
        name: sorted(source.guide)
        for name, source in plan.contents.items()
        if isinstance(source.guide, Mapping)
    }
    pictures = {
        (name, index): sorted(guide)
        for name, source in plan.styles.items()
        for index, guide in enumerate(source.guides)
        if isinstance(guide, Mapping)
    }
    return contents, pictures


def region_problems(
    plan: Plan,
    contents: Mapping[str, Sequence[str]],
    pictures: Mapping[Pictures, Sequence[str]],
) -> list[str]:
    """What is wrong with the regions of a run, as far as their names are known.

    Args:
        plan: the run.
        contents: content -> its regions.
        pictures: style and number of its picture -> the picture's regions.

    Returns:
        One line for every content and style that do not go together, and for weights of regions that
        are not there.
    """
    if not (
        any(source.guide is not None for source in plan.contents.values())
        or any(source.regions for source in plan.styles.values())
        or any(settings.region_weights for settings in plan.settings)
    ):
        return []
    problems: list[str] = []
    for style, content in plan.selection.pairs:
        source, where = plan.styles[style], f"styles.{style}"
        if plan.contents[content].guide is None:
            if source.regions:
                problems.append(
                    f"{where}: has a style for each region, but contents.{content} has no regions; give "
                    "it a `guide`"
                )
            continue
        needed = contents.get(content)
        if needed is None:
            continue
        if source.regions:
            problems += _missing(f"{where}.regions", source.regions, needed, content)
        for index, path in enumerate(source.paths):
            own = pictures.get((style, index))
            if own is None:
                continue
            wanted = [r for r in needed if not source.regions or r == source.regions[index]]
            problems += _missing(f"{where}, the guide of {path}", own, wanted, content)
    return problems + _unknown_weights(plan, contents)


def _missing(where: str, own: Sequence[str], needed: Sequence[str], content: str) -> list[str]:
    missing = [name for name in needed if name not in own]
    if not missing:
        return []
    return [
        f"{where}: has no {', '.join(missing)}, which contents.{content} has; there are: "
        f"{', '.join(dict.fromkeys(own))}"
    ]


def _unknown_weights(plan: Plan, contents: Mapping[str, Sequence[str]]) -> list[str]:
    weighed = dict.fromkeys(r for settings in plan.settings for r in settings.region_weights)
    guided = [name for name, source in plan.contents.items() if source.guide is not None]
    if weighed and not guided:
        return ["region_weights: no content has regions; give one a `guide`"]
    if not all(name in contents for name in guided):
        return []
    known = dict.fromkeys(region for name in guided for region in contents[name])
    return [
        f"region_weights: no content has a region {name}; there are: {', '.join(known)}"
        for name in weighed
        if name not in known
    ]
