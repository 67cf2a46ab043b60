"""The page that ``peers.py`` writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from _common import met, show, table

ITERATION_GOAL = 0.85
"""Most of the peer's seconds an iteration, with VGG-19."""

TIME_TO_LOSS_GOAL = 1 / 3
"""Most of the peer's time to its final loss, with VGG-19."""

COMPACT_GOAL = 1 / 15
"""Most of the peer's wall-clock for the grid, with the compact encoder …"""

COMPACT_STYLE_GOAL = 1.5
"""… at most so many times its style loss."""

NAMES = {
    "peer": "neural-style",
    "vgg19": "nst run, vgg19",
    "compact": "nst run, compact",
    "compact_longer": "nst run, compact, longer",
}


def to_markdown(result: Mapping[str, Any]) -> list[str]:
    """The results as tables for people."""
    summary, peer = result["summary"], result["summary"]["peer"]
    versions = result["peer_versions"]
    weights = ", ".join(f"{a} → {show(b)}" for a, b in result["style_weights"].items())
    pairs = len({tuple(row["pair"]) for row in result["peer"]})
    schedules = ", ".join(f"{NAMES[grid]}: {n}" for grid, n in result["schedules"].items())
    lines = [
        "# The same grid with neural-style",
        "",
        f"Machine: {result['machine']}. neural-style {versions['neural-style']} with torch "
        f"{versions['torch']}, ours with torch {result['torch']}. VGG-19: sha256 "
        f"{result['weights_sha256'][:12]}…. Pairs of content and style: {pairs}, at {result['size']} px; "
        f"style weights (neural-style's → the same in relative losses) {weights}; neural-style "
        f"{result['iterations']} iterations at one size, ours {schedules} from coarse to fine. "
        f"Judged by VGG-19 at {result['judge_size']} px, relative losses.",
        "",
        *_overview(summary),
        "",
        "Seconds an iteration: at the full size and for one picture; neural-style's from its wall-clock "
        f"at {result['short_iterations']} and {result['iterations']} iterations (the rest, "
        f"{show(peer['start_seconds'])} s, is its start-up), ours from the records. Memory in MB: the "
        "largest single process, and all at the same time. Losses: means over the grid; in brackets "
        "the geometric mean of the ratios to neural-style's.",
        "",
        "## Goals",
        "",
        *_goals(summary),
    ]
    if result["reach"]:
        lines += ["", "## Time to neural-style's final loss", "", *_reach(result)]
    if result["crowson"]:
        lines += ["", "## style-transfer-pytorch on its defaults", "", *_crowson(result)]
    lines += ["", "## Every picture", "", *_cells(result)]
    return lines


def _overview(summary: Mapping[str, Any]) -> list[str]:
    rows = []
    for key, name in NAMES.items():
        own = summary[key]
        row = [name, show(own["grid_seconds"]), show(own["seconds_per_iteration"])]
        row += [show(own["largest_mb"]), show(own["together_mb"])]
        for loss in ("content_loss", "style_loss", "style_loss_held_out"):
            ratio = "" if key == "peer" else f" ({own[f'{loss}_ratio']:.2f})"
            row.append(f"{show(own[loss])}{ratio}")
        row.append("1" if key == "peer" else f"{own['peer_loss_ratio']:.2f}")
        rows.append(row)
    heads = ["", "grid, s", "s / iteration", "largest MB", "together MB", "content", "style"]
    return table([*heads, "held-out style", "neural-style's own loss"], rows)


def _goals(summary: Mapping[str, Any]) -> list[str]:
    peer, vgg19, compact = (summary[key] for key in ("peer", "vgg19", "compact_longer"))
    step = vgg19["seconds_per_iteration"] / peer["seconds_per_iteration"]
    grid = compact["grid_seconds"] / peer["grid_seconds"]
    rows = [
        (f"vgg19: s / iteration ≤ {ITERATION_GOAL} × neural-style's", step, ITERATION_GOAL),
        (
            "vgg19: time to its final loss ≤ 1/3, without start-up",
            vgg19["time_to_loss"],
            TIME_TO_LOSS_GOAL,
        ),
        (
            "vgg19: the same, with start-up",
            vgg19["time_to_loss_with_start"],
            TIME_TO_LOSS_GOAL,
        ),
        ("compact, longer: grid ≤ 1/15 of its wall-clock", grid, COMPACT_GOAL),
        (
            f"compact, longer: style loss ≤ {COMPACT_STYLE_GOAL} × its",
            compact["style_loss_ratio"],
            COMPACT_STYLE_GOAL,
        ),
    ]
    return table(
        ["goal", "measured, × neural-style's", "met"],
        [[name, show(value), met(value, goal)] for name, value, goal in rows],
    )


def _reach(result: Mapping[str, Any]) -> list[str]:
    peer = {(*row["pair"], row["style_weight"]): row for row in result["peer"]}
    descent = result["summary"]["peer"]["seconds_per_iteration"] * result["iterations"]
    rows = []
    for row in result["reach"]:
        theirs = peer[(*row["pair"], row["style_weight"])]
        start = [" × ".join(row["pair"]), f"{row['style_weight']:g}", row["encoder"]]
        if row["reached"]:
            process = row["process"]
            found = [
                " + ".join(str(count) for count in row["iterations"]),
                show(row["seconds"]),
                f"{row['seconds'] / descent:.2f}",
                show(process["wall_seconds"]),
                f"{process['wall_seconds'] / theirs['wall_seconds']:.2f}",
                f"{row['loss'] / row['peer_loss']:.3f}",
            ]
        else:
            least = f"not reached: {row['lowest'] / row['peer_loss']:.3f}"
            found = ["–", "–", "–", "–", "–", least]
        rows.append([*start, *found])
    heads = ["pair", "style weight", "encoder", "iterations", "descent, s", "× neural-style's"]
    return [
        "The shortest descent whose finished picture has at most the loss of neural-style's finished "
        f"picture, by neural-style's formula. Its descent takes {show(descent)} s.",
        "",
        *table([*heads, "process, s", "× neural-style's", "loss, × its"], rows),
    ]


def _crowson(result: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            " × ".join(row["pair"]),
            *(
                show(row[key])
                for key in ("wall_seconds", "largest_mb", "content_loss", "style_loss")
            ),
            show(row["style_loss_held_out"]),
        ]
        for row in result["crowson"]
    ]
    return table(["pair", "s", "MB", "content", "style", "held-out style"], rows)


def _cells(result: Mapping[str, Any]) -> list[str]:
    found: dict[tuple[Any, ...], dict[str, Mapping[str, Any]]] = {}
    for row in result["peer"]:
        found.setdefault((*row["pair"], row["style_weight"]), {})["peer"] = row
    for grid in result["grids"]:
        for cell in grid["cells"]:
            found[(*cell["pair"], cell["style_weight"])][grid["grid"]] = cell
    rows = []
    for (content, style, weight), made in found.items():
        row = [f"{content} × {style}", f"{weight:g}"]
        for loss in ("content_loss", "style_loss", "peer_loss"):
            base = made["peer"]["peer_loss"] if loss == "peer_loss" else 1.0
            shown = [show(made[key][loss] / base) or "" for key in NAMES if key in made]
            row.append(" / ".join(shown))
        rows.append(row)
    return [
        f"Losses in the order {' / '.join(NAMES.values())}.",
        "",
        *table(["pair", "style weight", "content", "style", "neural-style's own, × its"], rows),
    ]
