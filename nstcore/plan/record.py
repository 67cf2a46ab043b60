"""The record of a cell: everything that explains its image and that is needed to make it again.

A run has one beside each image, as JSON; the store has one for each finished image, and the image
itself holds one.  Those two lack what only a run knows: the cell's place in the grid, its status and
its metrics.  Parts and keys that a record does not have are not written, and keys of other versions
survive being read and written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from nstcore.errors import StoreError
from nstcore.store.files import write_json

SCHEMA = 1
"""Version of the layout."""


def _finite_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value


Measurement = Annotated[int | float | None, BeforeValidator(_finite_number)]
"""A number; anything else counts as not measured."""


class RecordPart(BaseModel):
    """A part of a record; it keeps keys that it does not know."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    def to_json(self, *, exclude: set[str] | None = None) -> dict[str, Any]:
        """What was read or given, and no default beyond that, as values for JSON."""
        return self.model_dump(by_alias=True, exclude_unset=True, exclude=exclude)


class CellIdentity(RecordPart):
    """A cell's place in its grid."""

    style: str
    content: str
    setting: str
    axes: dict[str, Any] = {}
    seed: int


class Guide(RecordPart):
    """The regions of an image: the file, or one for each region; the areas are shares of the image."""

    path: str | dict[str, str]
    digest: str
    regions: dict[str, float] = {}


class ContentInput(RecordPart):
    """A content as it was prepared; ``alpha`` is the digest of its transparency."""

    path: str
    digest: str
    width: int | None = None
    height: int | None = None
    guide: Guide | None = None
    alpha: str | None = None


class StyleInput(RecordPart):
    """One image of a style; ``region`` is the one of the content that takes its style."""

    path: str
    digest: str
    weight: float
    width: int | None = None
    height: int | None = None
    region: str | None = None
    guide: Guide | None = None


class EncoderInput(RecordPart):
    """An encoder; ``source`` is a file, or where the weights come from without one."""

    name: str
    source: str
    sha256: str


class StartInput(RecordPart):
    """The image of ``init: file``."""

    path: str
    digest: str


class Inputs(RecordPart):
    """Everything that an image was made from."""

    content: ContentInput
    style: list[StyleInput]
    encoder: EncoderInput
    start: StartInput | None = None
    background: str | None = None


class ImageInfo(RecordPart):
    """The file of an image.

    ``pixels`` is the digest of the decoded pixels; None for JPEG, whose decoders differ.
    """

    width: int
    height: int
    bits: int = 8
    pixels: str | None = None
    file: str | None = None
    sha256: str | None = None


class OptimizationInfo(RecordPart):
    """How an image was computed, and what that took: its share of the batch's time.

    Attributes:
        device: such as ``cpu`` or ``cuda: NVIDIA H100``.
        threads, target_threads: of the optimization, and of the style targets.
        tile: side of the tiles in pixels; None for whole images.
        history: curvature pairs of L-BFGS, fewer than the settings say where memory was short.
        degraded: what is not as the settings say, and why.
    """

    device: str | None = None
    instructions: str | None = None
    precision: str = "auto"
    deterministic: bool = False
    threads: int | None = None
    target_threads: int | None = None
    batch_size: int = 1
    tile: int | None = None
    history: int | None = None
    degraded: str | None = None
    iterations: Measurement = None
    seconds: Measurement = None
    peak_memory_mb: Measurement = None
    rollbacks: int = 0
    levels: list[dict[str, Any]] = []


class BatchMember(RecordPart):
    """A neighbour in a cell's batch: its seed, and which settings and inputs differ from the cell's."""

    seed: int
    settings: dict[str, Any] = {}
    inputs: dict[str, Any] = {}


class CellRecord(RecordPart):
    """Everything about one cell.

    Attributes:
        algorithm: version of the computation.
        key: identity of the cell; see :func:`nstcore.plan.keys.cell_key`.
        run, cell, status, reason: of the run alone; ``reason`` says why a cell failed.
        settings: all settings, as the version that made the image knew them.
        seed: in the store and in the image; a run's record has it in ``cell``.
        together: every cell of the batch in its order, None for this one; empty where it was alone.
        metrics, evaluation: of the run alone: what was measured, and with which encoder.
        trace: name of a curve -> its values, one for each recorded iteration.
    """

    schema_version: int = Field(SCHEMA, alias="schema")
    algorithm: int | None = None
    key: str
    run: str | None = None
    cell: CellIdentity | None = None
    status: Literal["ok", "diverged", "failed"] = "ok"
    reason: str | None = None
    settings: dict[str, Any] = {}
    seed: int | None = None
    inputs: Inputs | None = None
    image: ImageInfo | None = None
    output: dict[str, Any] = {}
    optimization: OptimizationInfo = OptimizationInfo()
    together: list[BatchMember | None] = []
    metrics: dict[str, Measurement] = {}
    evaluation: dict[str, Any] = {}
    trace: dict[str, list[float | None]] = {}
    versions: dict[str, str] = {}
    created: str | None = None

    @classmethod
    def parse(cls, value: str | Mapping[str, Any], source: Path | str) -> Self:
        """A record from JSON, as text or decoded.

        Args:
            source: the file, for the message.

        Raises:
            StoreError: one line: it is not a record.
        """
        try:
            if isinstance(value, str):
                return cls.model_validate_json(value)
            return cls.model_validate(value)
        except ValidationError as error:
            raise StoreError(f"{source}: not a valid record ({_problem(error)})") from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """The record beside an image of a run.

        Raises:
            StoreError: one line: the file is missing, damaged, or not such a record.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise StoreError(f"{path}: this record is missing; run the workflow again") from None
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(
                f"{path}: this record cannot be read ({error}); delete it and run the workflow again"
            ) from None
        try:
            record = cls.parse(text, path)
            if "status" not in record.model_fields_set:
                raise StoreError(f"{path}: not a valid record (`status` is missing)")
        except StoreError as error:
            raise StoreError(f"{error}; delete it and run the workflow again") from None
        return record

    @classmethod
    def absent(cls, key: str, reason: str) -> CellRecord:
        """What stands for the record of a cell that has none; its status is ``missing``."""
        values: dict[str, Any] = {"key": key, "status": "missing", "reason": reason}
        return cls.model_construct(**values)

    def write(self, path: Path) -> None:
        """Write the record as JSON."""
        write_json(path, self.to_json())

    def without_trace(self) -> CellRecord:
        """The record without its curves, which are most of it."""
        return self.model_copy(update={"trace": {}})

    @property
    def random_seed(self) -> int | None:
        """The seed, wherever it is."""
        return self.cell.seed if self.cell is not None else self.seed


class FinishedRecord(CellRecord):
    """The record of a finished image, with all that is needed to make it again."""

    algorithm: int
    inputs: Inputs
    image: ImageInfo
    settings: dict[str, Any]
    optimization: OptimizationInfo
    versions: dict[str, str]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.optimization.device is None:
            raise ValueError("`optimization.device` is missing")
        if self.random_seed is None:
            raise ValueError("`seed` is missing")
        return self

    @property
    def device(self) -> str:
        """The kind of device that made the image: ``cuda`` for ``cuda: NVIDIA H100``."""
        return str(self.optimization.device).partition(":")[0]

    def members(self) -> list[FinishedRecord]:
        """Records of all that shared the image's batch, in its order."""
        together = self.together or [None]
        return [self if other is None else self._member(other) for other in together]

    def _member(self, other: BatchMember) -> FinishedRecord:
        own = self.to_json(exclude={"together", "trace", "cell"})
        inputs = {**own["inputs"], **other.inputs}
        values = {
            **own,
            "seed": other.seed,
            "settings": {**self.settings, **other.settings},
            "inputs": {name: value for name, value in inputs.items() if value is not None},
        }
        return FinishedRecord.parse(values, "the record's `together`")

    @property
    def position(self) -> int:
        """The image's own place among :meth:`members`."""
        return self.together.index(None) if self.together else 0


def _problem(error: ValidationError) -> str:
    """The first problem of a record, in a few words."""
    found = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, found["loc"]))
    if found["type"] == "missing":
        return f"`{place}` is missing"
    message = found["msg"].removeprefix("Value error, ").rstrip(".")
    return f"`{place}`: {message}" if place else message
