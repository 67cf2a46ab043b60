"""The state of every image in the middle of its optimization, on disk.

Each image has its own folder, named by its cell's key, so that a repeated job finds the state whatever
batch the image is in then.  The two newest states are kept: a kill while a batch's states are renamed
leaves some images one state ahead of the others, and the older state is what they have in common.  A
file's name holds its digest; a file that does not match counts as missing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nstcore.core.history import OptimizerState
from nstcore.errors import Preempted
from nstcore.store.files import atomic_path, file_sha256

log = logging.getLogger(__name__)

VERSION = 1
"""Bump when old checkpoints become unreadable."""

STATES_KEPT = 2

Position = tuple[int, int]
"""Level and iteration."""

DTYPES = {torch.int64: "I64", torch.float64: "F64", torch.float32: "F32", torch.bool: "BOOL"}
"""The types of a state's tensors, with their names in the safetensors format, in its order."""


def positions(folder: Path) -> dict[Position, Path]:
    """The states of one image, by their position in the optimization."""
    found: dict[Position, Path] = {}
    for path in sorted(folder.glob(f"v{VERSION}-*.safetensors")):
        try:
            _, level, iteration, _ = path.name.removesuffix(".safetensors").split("-")
            found[int(level), int(iteration)] = path
        except ValueError:
            continue
    return found


def common_position(folders: Sequence[Path]) -> Position | None:
    """The position of the newest state that all images have; None without one."""
    shared = set.intersection(*(set(positions(folder)) for folder in folders))
    return max(shared, default=None)


def write_states(
    folders: Sequence[Path],
    position: Position,
    images: Sequence[Mapping[str, Tensor]],
    metadata: Sequence[Mapping[str, Any]],
) -> list[Path]:
    """Write the states of a batch and remove all but the newest two of each image.

    All are written before the first is renamed.  Otherwise a kill in the middle of the batch's very
    first save would leave one image a state and its neighbour none, and the two would continue in
    separate batches, with other rounding.

    Raises:
        OSError: one cannot be written; then none is.
    """
    level, iteration = position
    paths = []
    with ExitStack() as staged:
        for folder, tensors, values in zip(folders, images, metadata, strict=True):
            pieces = list(_pieces(tensors, {"facts": json.dumps(values)}))
            digest = hashlib.sha256()
            for piece in pieces:
                digest.update(piece)
            name = f"v{VERSION}-{level:02d}-{iteration:06d}-{digest.hexdigest()[:16]}.safetensors"
            path = folder / name
            with staged.enter_context(atomic_path(path)).open("wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())  # now, so that renaming is quick
            paths.append(path)
    for folder in folders:
        kept = {path for _, path in sorted(positions(folder).items())[-STATES_KEPT:]}
        for old in folder.glob("*.safetensors"):
            if old not in kept:
                old.unlink(missing_ok=True)
    return paths


def _pieces(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[memoryview]:
    """A safetensors file, piece by piece, without a copy of tensors in the CPU's memory.

    The package's own ``save`` takes twice the memory of the tensors, which take most of what a large
    image needs.  The format: https://huggingface.co/docs/safetensors/index#format
    """
    order = list(DTYPES)
    ordered = sorted(tensors.items(), key=lambda item: (order.index(item[1].dtype), item[0]))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, value in ordered:
        begin, end = end, end + value.numel() * value.element_size()
        header[name] = {
            "dtype": DTYPES[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of their width
    yield memoryview(len(text).to_bytes(8, "little") + text)
    for _, value in ordered:
        if value.numel():
            yield value.detach().cpu().reshape(-1).numpy().data.cast("B")


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """One image's state, or None, with a warning, if the file is damaged."""
    try:
        digest = file_sha256(path)
        if path.name.removesuffix(".safetensors").rpartition("-")[2] != digest[:16]:
            raise ValueError("its contents do not match its digest")
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata: dict[str, Any] = json.loads((file.metadata() or {})["facts"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        log.warning("%s is damaged (%s) and ignored", path, error)
        return None
    return tensors, metadata


@dataclass
class FileCheckpointer:
    """Saves and finds the state of a batch; a :class:`nstcore.core.history.Checkpointer`.

    Args:
        folders: of each image of the batch.
        every: seconds between states; infinity to save only when the work has to end.
        stop: why the work has to end now, or None.
        took: is told how many seconds a save took.
    """

    folders: Sequence[Path]
    every: float
    stop: Callable[[], str | None] = lambda: None
    took: Callable[[float], None] = lambda seconds: None
    clock: Callable[[], float] = time.monotonic
    _last: float = field(init=False)

    def __post_init__(self) -> None:
        self._last = self.clock()

    def load(self) -> OptimizerState | None:
        """The newest intact state that all images have; damaged ones are removed."""
        while (position := common_position(self.folders)) is not None:
            paths = [positions(folder)[position] for folder in self.folders]
            states = [read_state(path) for path in paths]
            for path, state in zip(paths, states, strict=True):
                if state is None:
                    path.unlink(missing_ok=True)
            intact = [state for state in states if state is not None]
            if len(intact) == len(states):
                tensors = [state[0] for state in intact]
                history = [state[1]["journal"] for state in intact]
                return OptimizerState(*position, tensors, history, intact[0][1]["seconds"])
        return None

    def due(self) -> bool:
        """Whether it is time, or the work has to end."""
        return self.clock() - self._last >= self.every or self.stop() is not None

    def save(self, saved: OptimizerState) -> None:
        """Write every image's state.

        Raises:
            Preempted: the work has to end now.
        """
        started, problem = self.clock(), ""
        try:
            metadata = [
                {"journal": history, "seconds": saved.seconds, "torch": torch.__version__}
                for history in saved.history
            ]
            write_states(self.folders, (saved.level, saved.iteration), saved.images, metadata)
        except OSError as error:
            # A full disk, or another run that has just made the same image and removed its states.
            problem = f"; the newest state could not be saved ({error})"
            log.warning("continuing%s", problem)
        self._last = self.clock()
        self.took(self._last - started)
        if not problem:
            log.info(
                "level %d, iteration %d: state saved in %.1f s",
                saved.level,
                saved.iteration,
                self._last - started,
            )
        reason = self.stop()
        if reason is not None:
            raise Preempted(reason + problem)
