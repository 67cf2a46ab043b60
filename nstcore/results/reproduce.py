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
from nstcore.core.encoders.weights import PACKAGED_SOURCE, TORCHVISION_SOURCE, locate
from nstcore.errors import ConfigError, UserError, WeightsError
from nstcore.images import Pixels, decode, read_record
from nstcore.images.image import shown_digest
from nstcore.jobs import prepare
from nstcore.plan import paths
from nstcore.plan.inputs import ContentSource, Guide, StyleSource
from nstcore.plan.keys import ALGORITHM, file_sha256
from nstcore.plan.plan import Plan

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
    """A finished picture and its record.

    Attributes:
        file: what was given: the picture, or the JSON beside it.
        record: how it was made.
        picture: the picture; None where only its record is left.
    """

    file: Path
    record: Mapping[str, Any]
    picture: Path | None

    @property
    def suffix(self) -> str:
        """Suffix of the picture's file."""
        if self.picture is not None:
            return self.picture.suffix.lower()
        return Path(str(self.record["image"]["file"])).suffix.lower()


def read_original(file: Path) -> Original:
    """Read a picture with a record in it, or a record with its picture beside it.

    Raises:
        UserError: one line: there is no record, or it is of a picture that was not made.
    """
    if file.suffix.lower() != paths.RECORD_SUFFIX:
        original = Original(file, read_record(file), file)
    else:
        record = _read_json(file)
        if record.get("status", "ok") != "ok":
            raise UserError(
                f"{file}: is the record of a picture that was not made ({record.get('reason')}); there "
                "is nothing to repeat"
            )
        image = record.get("image")
        name = image.get("file") if isinstance(image, dict) else None
        beside = file.with_name(Path(str(name)).name)
        original = Original(file, record, beside if name and beside.is_file() else None)
    _check_record(original)
    return original


def _read_json(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file; give a picture or its record") from None
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise UserError(f"{file}: is no JSON of a record; give a picture or the record beside it")
    return record


def _check_record(original: Original) -> None:
    """Make sure that everything is there that the functions below look at."""
    record = original.record
    try:
        inputs = record["inputs"]
        found = [record["settings"], record["optimization"]["device"], record["image"]["width"]]
        found += [inputs["content"]["path"], inputs["content"]["digest"], record["algorithm"]]
        found += [part[name] for part in inputs["style"] for name in ("path", "digest", "weight")]
        found += [inputs["encoder"][name] for name in ("name", "source", "sha256")]
        found += [seed_of(record), original.suffix, record["versions"], record["key"]]
        found += [place_of(record), *members(record)]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{original.file}: its record lacks {error}; give a picture as the workflow wrote it"
        ) from None


def seed_of(record: Mapping[str, Any]) -> int:
    """The seed: a run's record has it with the cell's place in the grid."""
    return int(record["seed"] if "seed" in record else record["cell"]["seed"])


def members(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Records, as far as inputs and settings go, of all that shared the picture's batch, in its order."""
    if "together" not in record:
        return [record]
    found: list[Mapping[str, Any]] = []
    for other in record["together"]:
        if other is None:
            found.append(record)
            continue
        inputs = {**record["inputs"], **other.get("inputs", {})}
        found.append(
            {
                **record,
                "seed": other["seed"],
                "settings": {**record["settings"], **other.get("settings", {})},
                "inputs": {name: value for name, value in inputs.items() if value is not None},
            }
        )
    return found


def place_of(record: Mapping[str, Any]) -> int:
    """The picture's own place among :func:`members`."""
    return list(record["together"]).index(None) if "together" in record else 0


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


def sources(record: Mapping[str, Any]) -> list[Source]:
    """Every file that has to be there, without weights that come along or are downloaded."""
    inputs = record["inputs"]
    found = [Source("content", inputs["content"]["path"])]
    found += _guide_sources("content", inputs["content"])
    for what, part in _named_styles(record):
        found += [Source(what, part["path"]), *_guide_sources(what, part)]
    weights = _weights(record)
    if weights is not None:
        found.append(Source("weights", weights))
    start = _start(record)
    if start is not None:
        found.append(Source("init_file", start))
    return found


def missing(record: Mapping[str, Any], root: Path) -> list[str]:
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


def changed(record: Mapping[str, Any], plan: Plan) -> list[str]:
    """One line for every prepared input that is not what the picture was made from."""
    inputs = record["inputs"]
    [cell] = plan.cells()
    facts = prepare.content_facts(plan, CONTENT, cell.settings)
    content = {"guide": prepare.content_guide_facts(plan, CONTENT, cell.settings), **facts}
    pairs = [("content", inputs["content"], content)]
    pairs += [
        (what, was, now)
        for (what, was), now in zip(
            _named_styles(record), prepare.style_facts(plan, STYLE), strict=True
        )
    ]
    problems = []
    for what, was, now in pairs:
        digests = [(what, now["path"], was["digest"], now["digest"])]
        if "guide" in was:
            path = " and ".join(_files(now["guide"]["path"]).values())
            digests.append((f"{what}.guide", path, was["guide"]["digest"], now["guide"]["digest"]))
        if "alpha" in was:
            digests.append(
                (f"{what}, transparency", now["path"], was["alpha"], str(now.get("alpha")))
            )
        problems += [_changed(*one) for one in digests if one[2] != one[3]]
    if "start" in inputs:
        start = prepare.start_digest(cell.settings, plan.config.background)
        if start != inputs["start"]["digest"]:
            path = str(cell.settings.init_file)
            problems.append(_changed("init_file", path, inputs["start"]["digest"], str(start)))
    eye = prepare.encoder_facts(plan, cell.settings)
    if eye["sha256"] != inputs["encoder"]["sha256"]:
        # A download: of what is a file changed_weights tells before it is loaded.
        problems.append(
            _changed("weights", eye["source"], inputs["encoder"]["sha256"], eye["sha256"])
        )
    return problems


def changed_weights(record: Mapping[str, Any], root: Path) -> list[str]:
    """One line if the encoder's weights are not those that saw the picture."""
    eye = record["inputs"]["encoder"]
    given = _weights(record)
    try:
        file = locate(eye["name"], None if given is None else _at(root, given))
    except WeightsError:
        # Missing, which is told already, or not here yet: then they are downloaded.
        return []
    now = file_sha256(file)
    if now == eye["sha256"]:
        return []
    if eye["source"] == PACKAGED_SOURCE:
        version = record["versions"].get("nstcore", "?")
        return [
            f"encoder: the weights of `{eye['name']}` in this package are not those that the picture was "
            f"made with (sha256 {now[:12]}, recorded {eye['sha256'][:12]}); install nstcore {version}"
        ]
    return [_changed("weights", str(file), eye["sha256"], now)]


def _changed(what: str, path: str, was: str, now: str) -> str:
    return (
        f"{what}: {path} has changed (digest {now[:12]}, recorded {was[:12]}); put back what was there "
        "when the picture was made"
    )


def _named_styles(record: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    parts = record["inputs"]["style"]
    if len(parts) == 1:
        return [("style", parts[0])]
    return [(f"style {n} of {len(parts)}", part) for n, part in enumerate(parts, start=1)]


def _guide_sources(what: str, part: Mapping[str, Any]) -> list[Source]:
    if "guide" not in part:
        return []
    files = _files(part["guide"]["path"])
    return [Source(".".join([what, "guide", *filter(None, [r])]), p) for r, p in files.items()]


def _files(guide: Guide) -> Mapping[str, str]:
    """Region -> file; a picture in flat colours is of none."""
    return {"": guide} if isinstance(guide, str) else guide


def _weights(record: Mapping[str, Any]) -> str | None:
    """The file with the encoder's weights; None for those that come along or are downloaded."""
    source = record["inputs"]["encoder"]["source"]
    return None if source in (PACKAGED_SOURCE, TORCHVISION_SOURCE) else str(source)


def _start(record: Mapping[str, Any]) -> str | None:
    """The picture of ``init: file``: a run's own path stands in the inputs."""
    start = record["inputs"].get("start")
    found: str | None = record["settings"].get("init_file") if start is None else start["path"]
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
    inputs, how = record["inputs"], record["optimization"]
    content = ContentSource(
        _at(root, inputs["content"]["path"]), guide=_guide_at(root, inputs["content"])
    )
    parts = inputs["style"]
    guides = tuple(_guide_at(root, part) for part in parts)
    style = StyleSource(
        tuple(_at(root, part["path"]) for part in parts),
        tuple(float(part["weight"]) for part in parts),
        regions=tuple(part["region"] for part in parts if "region" in part),
        guides=guides if any(guide is not None for guide in guides) else (),
    )
    weights, start = _weights(record), _start(record)
    settings = {
        **record["settings"],
        "weights": None if weights is None else _at(root, weights),
        "init_file": None if start is None else _at(root, start),
        # For want of memory it may have been less than the settings say.
        "history": how.get("history", record["settings"].get("history", 10)),
    }
    given = {
        "run": run,
        "results": str(results),
        "contents": {CONTENT: content.entry()},
        "styles": {STYLE: style.entry()},
        "settings": settings,
        "sweep": {"seeds": [seed_of(record)]},
        "device": device or device_of(record),
        "batch_size": batch_size,
        "tile": how.get("tile"),
        "precision": how.get("precision", "auto"),
        "deterministic": how.get("deterministic", False),
        "output": output_of(original),
    }
    if "background" in inputs:
        given["background"] = inputs["background"]
    try:
        return Plan(parse_config(given))
    except ConfigError as error:
        version = record["versions"].get("nstcore", "?")
        raise ConfigError(
            [
                f"{original.file}: {problem} (its record is of nstcore {version})"
                for problem in error.problems
            ]
        ) from None


def output_of(original: Original) -> dict[str, Any]:
    """The file format as the record tells it, or as the file does."""
    record = original.record
    known = {"format": FORMATS.get(original.suffix, "png"), "bits": record["image"].get("bits", 8)}
    return {**known, **record.get("output", {})}


def device_of(record: Mapping[str, Any]) -> str:
    """The kind of device that a picture was made on: ``cuda`` for ``cuda: NVIDIA H100``."""
    return str(record["optimization"]["device"]).partition(":")[0]


def _guide_at(root: Path, part: Mapping[str, Any]) -> Guide | None:
    if "guide" not in part:
        return None
    guide = part["guide"]["path"]
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


def is_as_recorded(picture: Path, record: Mapping[str, Any]) -> bool | None:
    """Whether a picture's pixels are those that its record tells of; None where it does not tell."""
    recorded: str | None = record["image"].get("pixels")
    if recorded is None:
        return None
    found = decode(picture, flat=False)
    return shown_digest(found.pixels, found.alpha) == recorded


def _shown(path: Path) -> Pixels:
    """Colours and, where not all is opaque, alpha of a picture: ``(H, W, 3 or 4)``."""
    picture = decode(path, flat=False)
    if picture.alpha is None:
        return picture.pixels
    return cast(Pixels, np.dstack([picture.pixels, picture.alpha]))


def unlike(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is not as it was when a picture was made: ``torch 2.9.0, now 2.10.0``."""
    found = []
    if then["algorithm"] != now["algorithm"]:
        found.append(f"algorithm {then['algorithm']}, now {ALGORITHM}")
    for section, names in (("versions", None), ("optimization", HOW)):
        was, here = then[section], now[section]
        for name in names or sorted({*was, *here}):
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
