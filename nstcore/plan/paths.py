"""Paths of the files of a run, from the run's folder: no other module spells them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from nstcore.config.run import Config
from nstcore.core.settings import Settings
from nstcore.images.resize import SizeBy
from nstcore.store.files import digest

CONTENT = "inputs/contents/{content}/{size}.png"
CONTENT_METADATA = "inputs/contents/{content}/{size}.json"
CONTENT_ALPHA = "inputs/contents/{content}/{size}.alpha.png"
STYLE = "inputs/styles/{style}/{index}.png"
STYLE_METADATA = "inputs/styles/{style}/{index}.json"
CONTENT_GUIDE = "inputs/contents/{content}/{size}.guide.npz"
CONTENT_GUIDE_METADATA = "inputs/contents/{content}/{size}.guide.json"
STYLE_GUIDE = "inputs/styles/{style}/{index}.guide.npz"
STYLE_GUIDE_METADATA = "inputs/styles/{style}/{index}.guide.json"
ENCODER = "encoders/{encoder}.safetensors"
ENCODER_METADATA = "encoders/{encoder}.json"
TARGET = "targets/{style}/{target}.safetensors"
RECORD_SUFFIX = ".json"
MANIFEST = "manifests/{stage}/{part}.json"

LIVE_PAGE = "live/index.html"
"""The page of a run that is under way."""
COMPARE_FOLDER = "compare"
"""The folder of the comparison with other runs."""

COMPARE_PAGE, COMPARE_TABLE, COMPARE_SUMMARY = "index.html", "comparison.csv", "summary.json"
"""Its files: the page, a table with a row for each pair of cells, and the summary with the limits."""


def record_path(image: Path | str) -> Path:
    """The record beside an image."""
    return Path(image).with_suffix(RECORD_SUFFIX)


def snapshot_file(image: str, key: str, iteration: int) -> str:
    """A snapshot of a cell of this image and key: ``snapshots/cells/…/000020-1a2b3c4d.webp``."""
    return f"snapshots/{image.rpartition('.')[0]}/{iteration:06d}-{key[:8]}.webp"


def encoder_id(encoder: str, weights: str | None) -> str:
    """Name of an encoder with its weights: ``vgg19``, or ``vgg19-1a2b3c4d`` for a file."""
    return encoder if weights is None else f"{encoder}-{digest(weights)[:8]}"


def size_label(settings: Settings, size: int | None = None) -> str:
    """A size in the name of a file: ``512`` for a long side, else ``512short`` or ``512area``."""
    by = "" if settings.size_by == "long" else settings.size_by
    return f"{settings.size if size is None else size}{by}"


def target_id(settings: Settings, layers: tuple[str, ...], size: int) -> str:
    """Name of a style target: encoder, layers and size."""
    encoder = encoder_id(settings.encoder, settings.weights)
    names = _layers_id(layers)
    parts = [encoder, settings.pooling, settings.padding, names, size_label(settings, size)]
    if settings.guide_propagation != "simple":
        parts.append(settings.guide_propagation)
    return "-".join(parts)


@cache
def _layers_id(layers: tuple[str, ...]) -> str:
    return digest(sorted(layers))[:8]


# --- What has to be prepared for cells, by its name in paths. ---

LabelledSizes = dict[str, tuple[int, SizeBy]]
"""Name of a size -> the size of a content, and what it is the size of."""

Encoders = dict[str, tuple[str, str | None]]
"""Id of an encoder -> its name, and the file with its weights."""

Target = tuple[Settings, tuple[str, ...], int]
"""A style target: settings of its encoder, layers and size."""

Targets = dict[str, Target]
"""Id of a target -> what it is."""


def sizes_of(settings: Iterable[Settings]) -> LabelledSizes:
    """The sizes of some settings, ascending."""
    ordered = sorted(settings, key=lambda one: (one.size, one.size_by))
    return {size_label(one): (one.size, one.size_by) for one in ordered}


def encoders_of(settings: Iterable[Settings]) -> Encoders:
    """The encoders of some settings."""
    return {encoder_id(one.encoder, one.weights): (one.encoder, one.weights) for one in settings}


def level_targets(settings: Settings) -> list[Target]:
    """The style target of every level, coarse to fine."""
    sizes = map(settings.style_size, settings.level_sizes())
    return [(settings, settings.used_style_layers, size) for size in sizes]


def targets_of(settings: Iterable[Settings]) -> Targets:
    """The style targets of some settings.

    Where the style's colors depend on the content, the job of the cell makes them itself.
    """
    found: Targets = {}
    for one in settings:
        for target in level_targets(one) if one.color == "style" else ():
            found.setdefault(target_id(*target), target)
    return found


# --- The runs that a run is compared with. ---


def compared_runs(config: Config) -> list[str]:
    """The folders of the runs that a run is compared with, the baseline first."""
    runs = config.compare.runs if config.compare is not None else []
    return [name if "/" in name else f"{config.results}/{name}" for name in runs]


def missing_runs(config: Config) -> list[str]:
    """One line for each of these runs that does not exist."""
    problems: list[str] = []
    for index, folder in enumerate(compared_runs(config)):
        where = f"compare.runs[{index}]"
        if Path(folder).resolve() == Path(config.run_dir).resolve():
            problems.append(f"{where}: is this run itself; name another")
        elif not (Path(folder) / "grid.tsv").is_file():
            problems.append(f"{where}: there is no run in {folder} (it has no grid.tsv)")
    return problems
