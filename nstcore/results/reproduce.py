"""Make an image again from its record: check the inputs, build the plan, compare the results."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from nstcore.config.loader import parse_config
from nstcore.core.encoders import ENCODERS, locate
from nstcore.errors import ConfigError, StoreError, UserError, WeightsError
from nstcore.images import IntegerPixels, decode, read_record
from nstcore.images.image import shown_digest
from nstcore.plan import paths
from nstcore.plan.inputs import ContentSource, Guide, StyleSource
from nstcore.plan.keys import ALGORITHM
from nstcore.plan.plan import Plan
from nstcore.plan.record import CellRecord, ContentInput, FinishedRecord, Inputs, StyleInput
from nstcore.plan.values import table_text
from nstcore.store.files import file_sha256

CONTENT, STYLE = "content", "style"
"""Ids in the plan; they do not change the image."""

FORMATS = {
    ".png": "png",
    ".jpg": "jpg",
    ".jpeg": "jpg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
}
"""Suffix -> ``output.format``."""

CIRCUMSTANCES = (
    "device",
    "instructions",
    "precision",
    "deterministic",
    "threads",
    "target_threads",
    "batch_size",
    "tile",
)
"""Keys of a record's ``optimization`` that can change the last bits of an image."""


@dataclass(frozen=True)
class Original:
    """A finished image and its record.

    Attributes:
        file: what was given: the image, or the JSON beside it.
        record: how it was made.
        image: the image; None where only its record is left.
    """

    file: Path
    record: FinishedRecord
    image: Path | None

    @property
    def suffix(self) -> str:
        """Suffix of the image's file."""
        return Path(self.image or str(self.record.image.file)).suffix.lower()


def read_original(file: Path) -> Original:
    """Read an image with a record in it, or a record with its image beside it.

    Raises:
        UserError: one line: there is no record, or its image was not made.
    """
    if file.suffix.lower() != paths.RECORD_SUFFIX:
        return Original(file, _parse(read_record(file), file), file)
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; give an image or its record") from None
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise UserError(f"{file}: not a record; give an image or the record beside it")
    if values.get("status", "ok") != "ok":
        raise UserError(
            f"{file}: the image of this record was not made ({values.get('reason')}); there is nothing "
            "to repeat"
        )
    record = _parse(values, file)
    if record.image.file is None:
        raise UserError(f"{file}: not a valid record (`image.file` is missing)")
    beside = file.with_name(Path(record.image.file).name)
    return Original(file, record, beside if beside.is_file() else None)


def _parse(values: Mapping[str, Any], file: Path) -> FinishedRecord:
    try:
        return FinishedRecord.parse(values, file)
    except StoreError as error:
        raise UserError(f"{error}; give an image that the workflow wrote, or its record") from None


# --- the inputs ----------------------------------------------------------------------------------


def missing_inputs(record: FinishedRecord, root: Path) -> list[str]:
    """One line for every input file that is missing."""
    problems = []
    for name, recorded in _files(record):
        path = _at(root, recorded)
        if not Path(path).is_file():
            refined = name == "init_file" and not os.path.isabs(recorded)
            hint = ", such as the small image of a refined one" if refined else ""
            problems.append(
                f"{name}: there is no file {path}; put back what was there{hint}, or name the "
                "folder that paths start from with --root"
            )
    return problems


def _files(record: FinishedRecord) -> list[tuple[str, str]]:
    """Name and recorded path of every input, without weights that are packaged or downloaded."""
    found: list[tuple[str, str | None]] = []
    for name, part in _parts(record.inputs):
        found.append((name, part.path))
        guides = {} if part.guide is None else _guide_files(part.guide.path)
        found += [(".".join(filter(None, [name, "guide", r])), p) for r, p in guides.items()]
    found += [("weights", _weights(record)), ("init_file", _start(record))]
    return [(name, path) for name, path in found if path is not None]


def changed_inputs(record: FinishedRecord, now: Inputs) -> list[str]:
    """One line for every prepared input that is not what the image was made from."""
    was = record.inputs
    digests = []
    for (what, before), (_, after) in zip(_parts(was), _parts(now), strict=True):
        digests.append((what, after.path, before.digest, after.digest))
        if before.guide is not None and after.guide is not None:
            path = " and ".join(_guide_files(after.guide.path).values())
            digests.append((f"{what}.guide", path, before.guide.digest, after.guide.digest))
    if was.content.alpha is not None:
        alpha = str(now.content.alpha)
        digests.append(("content, transparency", now.content.path, was.content.alpha, alpha))
    if was.start is not None and now.start is not None:
        digests.append(("init_file", now.start.path, was.start.digest, now.start.digest))
    # A download: changed_weights checks a file before it is loaded.
    encoder = now.encoder
    digests.append(("weights", encoder.source, was.encoder.sha256, encoder.sha256))
    return [_changed(*one) for one in digests if one[2] != one[3]]


def changed_weights(record: FinishedRecord, root: Path) -> list[str]:
    """One line if the encoder's weights are not those that made the image."""
    encoder = record.inputs.encoder
    given = _weights(record)
    try:
        file = locate(encoder.name, None if given is None else _at(root, given))
    except WeightsError:
        # `missing_inputs` reports a file; anything else is downloaded later.
        return []
    now = file_sha256(file)
    if now == encoder.sha256:
        return []
    if encoder.source in {spec.source for spec in ENCODERS.values() if spec.packaged}:
        version = record.versions.get("nstcore", "?")
        return [
            f"encoder: the weights of `{encoder.name}` in this package are not those that made the image "
            f"(sha256 {now[:12]}, recorded {encoder.sha256[:12]}); install nstcore {version}"
        ]
    return [_changed("weights", str(file), encoder.sha256, now)]


def _changed(what: str, path: str, was: str, now: str) -> str:
    return (
        f"{what}: {path} has changed (digest {now[:12]}, recorded {was[:12]}); put back what was there "
        "when the image was made"
    )


def _parts(inputs: Inputs) -> list[tuple[str, ContentInput | StyleInput]]:
    """The content and the images of the style, by their names in messages."""
    count = len(inputs.style)
    names = [f"style {n} of {count}" for n in range(1, count + 1)] if count > 1 else ["style"]
    return [("content", inputs.content), *zip(names, inputs.style, strict=True)]


def _guide_files(guide: Guide) -> Mapping[str, str]:
    """Region -> file; one image in flat colors has the region ``""``."""
    return {"": guide} if isinstance(guide, str) else guide


def _weights(record: FinishedRecord) -> str | None:
    """The file with the encoder's weights; None for those that are packaged or downloaded."""
    source = record.inputs.encoder.source
    return None if source in {spec.source for spec in ENCODERS.values()} else source


def _start(record: FinishedRecord) -> str | None:
    """The image of ``init: file``."""
    if record.inputs.start is not None:
        return record.inputs.start.path
    found: str | None = record.settings.get("init_file")
    return found


def _at(root: Path, path: str) -> str:
    """A recorded path, below the folder that it started from."""
    return os.path.join(root, path) if str(root) != "." else path


# --- the plan ------------------------------------------------------------------------------------


def plan_again(
    original: Original,
    root: Path,
    results: Path | str,
    *,
    run: str = "again",
    batch_size: int = 1,
    device: str | None = None,
) -> Plan:
    """The plan of one cell that makes an image again.

    What a record of an older version lacks has the default of then.

    Args:
        original: the image; all its files exist.
        root: folder that the recorded paths start from.
        results: folder for the run, with a store of its own: the first image must not be found.
        run, batch_size: as in the configuration.
        device: where to compute; None for where it was.

    Raises:
        ConfigError: the record has settings that this version does not know.
    """
    record = original.record
    inputs, how = record.inputs, record.optimization
    content = ContentSource(_at(root, inputs.content.path), guide=_guide_at(root, inputs.content))
    parts = inputs.style
    guides = tuple(_guide_at(root, part) for part in parts)
    style = StyleSource(
        tuple(_at(root, part.path) for part in parts),
        tuple(part.weight for part in parts),
        regions=tuple(part.region for part in parts if part.region is not None),
        guides=guides if any(guide is not None for guide in guides) else (),
    )
    weights, start = _weights(record), _start(record)
    settings = {
        **record.settings,
        "weights": None if weights is None else _at(root, weights),
        "init_file": None if start is None else _at(root, start),
        # Where memory was short it was less than the settings say.
        "history": how.history or record.settings.get("history", 10),
    }
    given = {
        "run": run,
        "results": str(results),
        "contents": {CONTENT: content.entry()},
        "styles": {STYLE: style.entry()},
        "settings": settings,
        "sweep": {"seeds": [record.random_seed]},
        "device": device or record.device,
        "batch_size": batch_size,
        "tile": how.tile,
        "precision": how.precision,
        "deterministic": how.deterministic,
        "output": output_of(original),
    }
    if inputs.background is not None:
        given["background"] = inputs.background
    try:
        return Plan(parse_config(given))
    except ConfigError as error:
        of = f"(its record is of nstcore {record.versions.get('nstcore', '?')})"
        problems = [f"{original.file}: {problem} {of}" for problem in error.problems]
        raise ConfigError(problems) from None


def output_of(original: Original) -> dict[str, Any]:
    """The file format, from the record, or where it lacks that from the file."""
    record = original.record
    known = {"format": FORMATS.get(original.suffix, "png"), "bits": record.image.bits}
    return {**known, **record.output}


def _guide_at(root: Path, part: ContentInput | StyleInput) -> Guide | None:
    if part.guide is None:
        return None
    files = {region: _at(root, path) for region, path in _guide_files(part.guide.path).items()}
    return files[""] if isinstance(part.guide.path, str) else files


# --- the comparison ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """How two images of one size differ.

    Attributes:
        pixels: how many there are.
        differing: how many of them differ in any channel.
        largest: largest difference of a channel, in levels of ``1 / full``.
        mean: mean difference of all channels, in the same levels.
        full: the highest level: 255 or 65535.
    """

    pixels: int
    differing: int
    largest: int
    mean: float
    full: int


def compare(first: Path, second: Path) -> Difference | None:
    """How the decoded pixels of two files differ; None if shape or depth do."""
    one, other = _decoded(first), _decoded(second)
    if one.shape != other.shape or one.dtype != other.dtype:
        return None
    difference = np.abs(one.astype(np.int64) - other.astype(np.int64))
    return Difference(
        one.shape[0] * one.shape[1],
        int(np.count_nonzero(difference.max(axis=2))),
        int(difference.max()),
        float(difference.mean()),
        int(np.iinfo(one.dtype).max),
    )


def is_as_recorded(image: Path, record: FinishedRecord) -> bool | None:
    """Whether an image's pixels are those of its record; None where the record has no digest."""
    recorded = record.image.pixels
    if recorded is None:
        return None
    found = decode(image, flat=False)
    return shown_digest(found.pixels, found.alpha) == recorded


def _decoded(path: Path) -> IntegerPixels:
    """Colors and, where not all is opaque, alpha of an image: ``(H, W, 3 or 4)``."""
    image = decode(path, flat=False)
    if image.alpha is None:
        return image.pixels
    return cast(IntegerPixels, np.dstack([image.pixels, image.alpha]))


def changed_circumstances(then: CellRecord, now: CellRecord) -> list[str]:
    """Versions, device and so on that are not as they were: ``torch 2.9.0, now 2.10.0``."""
    found = []
    if then.algorithm != now.algorithm:
        found.append(f"algorithm {then.algorithm}, now {ALGORITHM}")
    how, how_now = then.optimization.to_json(), now.optimization.to_json()
    pairs = (
        (then.versions, now.versions, sorted({*then.versions, *now.versions})),
        (how, how_now, CIRCUMSTANCES),
    )
    for was, here, names in pairs:
        for name in names:
            # What an older record lacks is no difference.
            if name in was and was[name] != here.get(name):
                before, after = (table_text(values.get(name)) for values in (was, here))
                found.append(f"{name.replace('_', ' ')} {before}, now {after}")
    return found
