"""From a record back to its picture: what it was made from, the plan that makes it, the comparison."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from nstcore.config.loader import parse_config
from nstcore.core.encoders.registry import ENCODERS
from nstcore.core.encoders.weights import locate
from nstcore.errors import ConfigError, StoreError, UserError, WeightsError
from nstcore.images import IntegerPixels, decode, read_record
from nstcore.images.image import shown_digest
from nstcore.plan import paths
from nstcore.plan.inputs import ContentSource, Guide, StyleSource
from nstcore.plan.keys import ALGORITHM
from nstcore.plan.plan import Plan
from nstcore.plan.record import CellRecord, ContentInput, FinishedRecord, Inputs, StyleInput
from nstcore.store.files import file_sha256

CONTENT, STYLE = "content", "style"
"""Ids in the plan; names of pictures count for nothing."""

FORMATS = {
    ".png": "png",
    ".jpg": "jpg",
    ".jpeg": "jpg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
}
"""Suffix -> ``output.format``."""

HOW = (
    "device",
    "instructions",
    "precision",
    "deterministic",
    "threads",
    "target_threads",
    "batch_size",
    "tile",
)
"""What of a record's ``optimization`` can change the last bits of a picture."""


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
        UserError: one line: there is no record, or it is of an image that was not made.
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


# --- what it was made from -----------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """A file that a picture was made from.

    Attributes:
        what: how to call it.
        path: where it was.
    """

    what: str
    path: str


def sources(record: FinishedRecord) -> list[Source]:
    """Every file that has to be there, without weights that come along or are downloaded."""
    content = record.inputs.content
    found = [Source("content", content.path), *_guide_sources("content", content)]
    for what, part in _named_styles(record.inputs):
        found += [Source(what, part.path), *_guide_sources(what, part)]
    weights = _weights(record)
    if weights is not None:
        found.append(Source("weights", weights))
    start = _start(record)
    if start is not None:
        found.append(Source("init_file", start))
    return found


def missing(record: FinishedRecord, root: Path) -> list[str]:
    """One line for every file that is not there."""
    problems = []
    for source in sources(record):
        path = _at(root, source.path)
        if not Path(path).is_file():
            small = source.what == "init_file" and not os.path.isabs(source.path)
            hint = ", such as the small picture of a refined one" if small else ""
            problems.append(
                f"{source.what}: there is no file {path}; put back what was there{hint}, or name the "
                "folder that paths start from with --root"
            )
    return problems


def changed(record: FinishedRecord, now: Inputs) -> list[str]:
    """One line for every prepared input that is not what the image was made from.

    Args:
        record: of the image.
        now: the inputs as they are now.
    """
    was = record.inputs
    pairs: list[tuple[str, ContentInput | StyleInput, ContentInput | StyleInput]] = [
        ("content", was.content, now.content),
        *(
            (what, before, after)
            for (what, before), after in zip(_named_styles(was), now.style, strict=True)
        ),
    ]
    digests = []
    for what, before, after in pairs:
        digests.append((what, after.path, before.digest, after.digest))
        if before.guide is not None and after.guide is not None:
            path = " and ".join(_files(after.guide.path).values())
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
    """One line if the encoder's weights are not those that saw the picture."""
    encoder = record.inputs.encoder
    given = _weights(record)
    try:
        file = locate(encoder.name, None if given is None else _at(root, given))
    except WeightsError:
        # Missing, which is told already, or not here yet: then they are downloaded.
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
        "when the picture was made"
    )


def _named_styles(inputs: Inputs) -> list[tuple[str, StyleInput]]:
    parts = inputs.style
    if len(parts) == 1:
        return [("style", parts[0])]
    return [(f"style {n} of {len(parts)}", part) for n, part in enumerate(parts, start=1)]


def _guide_sources(what: str, part: ContentInput | StyleInput) -> list[Source]:
    if part.guide is None:
        return []
    files = _files(part.guide.path)
    return [Source(".".join([what, "guide", *filter(None, [r])]), p) for r, p in files.items()]


def _files(guide: Guide) -> Mapping[str, str]:
    """Region -> file; a picture in flat colours is of none."""
    return {"": guide} if isinstance(guide, str) else guide


def _weights(record: FinishedRecord) -> str | None:
    """The file with the encoder's weights; None for those that come along or are downloaded."""
    source = record.inputs.encoder.source
    return None if source in {spec.source for spec in ENCODERS.values()} else source


def _start(record: FinishedRecord) -> str | None:
    """The picture of ``init: file``: a run's own path stands in the inputs."""
    start = record.inputs.start
    found: str | None = record.settings.get("init_file") if start is None else start.path
    return found


def _at(root: Path, path: str) -> str:
    """A recorded path, from the folder that it started from."""
    return os.path.join(root, path) if str(root) != "." else path


# --- how it is made again ------------------------------------------------------------------------


def plan_again(
    original: Original,
    root: Path,
    results: Path | str,
    *,
    run: str = "again",
    batch_size: int = 1,
    device: str | None = None,
) -> Plan:
    """The plan of one cell that makes a picture again.

    What a record of an older version does not tell has the default that it had then.

    Args:
        original: the picture; all its files are there.
        root: folder that the recorded paths start from.
        results: folder for the run; its store is in it, since what is made again must not be found.
        run: name of the run.
        batch_size: how many are computed together.
        device: where to compute; None: where it was.

    Raises:
        ConfigError: if the record asks for what this version does not know.
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
        # For want of memory it may have been less than the settings say.
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
        version = record.versions.get("nstcore", "?")
        raise ConfigError(
            [
                f"{original.file}: {problem} (its record is of nstcore {version})"
                for problem in error.problems
            ]
        ) from None


def output_of(original: Original) -> dict[str, Any]:
    """The file format as the record tells it, or as the file does."""
    record = original.record
    known = {"format": FORMATS.get(original.suffix, "png"), "bits": record.image.bits}
    return {**known, **record.output}


def _guide_at(root: Path, part: ContentInput | StyleInput) -> Guide | None:
    if part.guide is None:
        return None
    guide = part.guide.path
    if isinstance(guide, str):
        return _at(root, guide)
    return {region: _at(root, path) for region, path in guide.items()}


# --- whether it is the same ----------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """How two pictures of one size differ.

    Attributes:
        pixels: how many there are.
        differing: how many of them differ in any channel.
        largest: the most that a channel differs, in levels of ``1 / full``.
        mean: of all channels, in the same.
        full: the highest level: 255 or 65535.
    """

    pixels: int
    differing: int
    largest: int
    mean: float
    full: int


def compare(first: Path, second: Path) -> Difference | None:
    """How the decoded pixels of two files differ; None where shape or depth are not the same."""
    one, other = _shown(first), _shown(second)
    if one.shape != other.shape or one.dtype != other.dtype:
        return None
    apart = np.abs(one.astype(np.int64) - other.astype(np.int64))
    return Difference(
        one.shape[0] * one.shape[1],
        int(np.count_nonzero(apart.max(axis=2))),
        int(apart.max()),
        float(apart.mean()),
        int(np.iinfo(one.dtype).max),
    )


def is_as_recorded(picture: Path, record: FinishedRecord) -> bool | None:
    """Whether a picture's pixels are those that its record tells of; None where it does not tell."""
    recorded = record.image.pixels
    if recorded is None:
        return None
    found = decode(picture, flat=False)
    return shown_digest(found.pixels, found.alpha) == recorded


def _shown(path: Path) -> IntegerPixels:
    """Colours and, where not all is opaque, alpha of a picture: ``(H, W, 3 or 4)``."""
    picture = decode(path, flat=False)
    if picture.alpha is None:
        return picture.pixels
    return cast(IntegerPixels, np.dstack([picture.pixels, picture.alpha]))


def unlike(then: CellRecord, now: CellRecord) -> list[str]:
    """What is not as it was when an image was made: ``torch 2.9.0, now 2.10.0``."""
    found = []
    if then.algorithm != now.algorithm:
        found.append(f"algorithm {then.algorithm}, now {ALGORITHM}")
    how, how_now = then.optimization.to_json(), now.optimization.to_json()
    pairs = (
        (then.versions, now.versions, sorted({*then.versions, *now.versions})),
        (how, how_now, HOW),
    )
    for was, here, names in pairs:
        for name in names:
            # What an older record does not tell is no difference.
            if name in was and was[name] != here.get(name):
                found.append(
                    f"{name.replace('_', ' ')} {_word(was[name])}, now {_word(here.get(name))}"
                )
    return found


def _word(value: Any) -> str:
    return (
        "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )
