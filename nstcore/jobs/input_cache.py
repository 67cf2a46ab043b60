"""The pixels of a batch's inputs, and copies of input files on a node's own disk."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import string
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from nstcore.core.color_modes import color_content, color_style, style_colors, to_grey
from nstcore.images import decode, load_float, to_float
from nstcore.images.color_transfer import LuminanceSpace
from nstcore.images.masks import Regions, load_regions
from nstcore.jobs.cell_inputs import CellInputs
from nstcore.plan import paths
from nstcore.resources.requests import IMAGES_KEPT
from nstcore.store.files import atomic_path, file_sha256

if TYPE_CHECKING:
    from nstcore.core.stylize import StylizeTask

log = logging.getLogger(__name__)

Pixels = NDArray[np.float32]

SCRATCH_FOLDER = "nst-scratch"


class InputCache:
    """The pixels of a batch's inputs; those used last are kept, and cells come in a suitable order.

    Several threads may ask at once: at worst both read the same file.
    """

    def __init__(self, scratch: str | None) -> None:
        self.scratch = Scratch(scratch)
        # A cache for each kind: a batch has few contents, and its many styles must not evict them.
        self._contents, self._alphas, self._styles = (
            lru_cache(IMAGES_KEPT)(self._load) for _ in range(3)
        )
        self._grey = lru_cache(IMAGES_KEPT)(self._load_grey)
        self._regions = lru_cache(IMAGES_KEPT)(load_regions)

    def _load(self, path: Path) -> Pixels:
        return load_float(self.scratch.local(path))

    def _load_grey(self, path: Path, space: LuminanceSpace) -> Pixels:
        return to_grey(self._contents(path), space)

    def weights(self, inputs: CellInputs) -> Path:
        """The encoder's weights, on this node if possible."""
        return self.scratch.local(inputs.file(paths.ENCODER))

    def content(self, inputs: CellInputs) -> Pixels:
        """The content in its own colors."""
        return self._contents(inputs.file(paths.CONTENT))

    def optimized_content(self, inputs: CellInputs) -> Pixels:
        """The content as it is optimized, perhaps in grey: one array for all cells that share it."""
        if inputs.settings.color != "luminance":
            return self.content(inputs)
        return self._grey(inputs.file(paths.CONTENT), inputs.settings.luminance_space)

    def alpha(self, inputs: CellInputs) -> Pixels | None:
        """How opaque the image is to be, ``(H, W)`` in [0, 1]; None where it is all opaque."""
        if inputs.content.alpha is None:
            return None
        return self._alphas(inputs.file(paths.CONTENT_ALPHA))[..., 0]

    def regions(self, inputs: CellInputs) -> Regions | None:
        """The regions of the content; None without any."""
        if inputs.content.guide is None:
            return None
        return self._regions(inputs.file(paths.CONTENT_GUIDE))

    def start(self, inputs: CellInputs) -> Pixels | None:
        """The image of ``init: file`` as it is optimized, perhaps in grey."""
        if inputs.start is None:
            return None
        image = decode(Path(inputs.start.path), background=inputs.background)
        return color_content(inputs.settings, to_float(image.pixels))

    def style(self, inputs: CellInputs, index: int) -> Pixels:
        """One image of the style in its own colors, at its own size."""
        return self._styles(inputs.file(paths.STYLE, index=index))

    def style_regions(self, inputs: CellInputs, index: int) -> Regions | None:
        """The regions of one image of the style; None without any."""
        if inputs.style[index].guide is None:
            return None
        return load_regions(inputs.file(paths.STYLE_GUIDE, index=index))

    def color_style(self, inputs: CellInputs, index: int) -> Pixels:
        """One image of the style as it is optimized for, perhaps with the content's colors."""
        pixels = self.style(inputs, index)
        if inputs.settings.color == "style":
            return pixels
        return color_style(inputs.settings, pixels, self._visible(inputs))

    def _visible(self, inputs: CellInputs) -> Pixels:
        """The pixels of the content that the image shows: ``(1, M, 3)`` where not all."""
        content, alpha = self.content(inputs), self.alpha(inputs)
        if alpha is None or alpha.max() < 0.5:
            return content
        # What is transparent has the background's color, which nobody will see.
        return content[alpha >= 0.5][np.newaxis]

    def style_colors(self, inputs: CellInputs) -> Pixels:
        """An image with the style's colors: of a blend, each part's in its share, in any order."""
        parts = inputs.style_by_digest
        shown = [(self.color_style(inputs, index), part.weight) for index, part in parts]
        return style_colors(inputs.settings, shown)

    def task(self, inputs: CellInputs) -> StylizeTask:
        """What the optimization works on, without the style's targets; safe in any thread."""
        from nstcore.core.stylize import StylizeTask

        return StylizeTask(
            content=self.optimized_content(inputs),
            styles=(),
            settings=inputs.settings,
            seed=inputs.seed,
            style_image=self.style_colors(inputs) if inputs.settings.init == "style" else None,
            start=self.start(inputs),
            regions=self.regions(inputs),
        )


class Scratch:
    """Copies, on this node's own disk, of files that many jobs read.

    A node makes one copy of each version of a file, under a lock; it appears whole or not at all.
    Where copying fails (a full disk, a missing folder) the original is read.

    Args:
        folder: as in the configuration, perhaps with ``$VARIABLES``; None for no copies.
        environment: what the variables stand for.
    """

    def __init__(self, folder: str | None, environment: Mapping[str, str] = os.environ) -> None:
        self.root: Path | None = None
        self._copies: dict[Path, Path] = {}
        if folder is None:
            return
        try:
            base = Path(string.Template(folder).substitute(environment)).expanduser()
        except (KeyError, ValueError) as error:
            log.warning("cluster.scratch: %s is not set here, nothing is copied", error)
            return
        # No other user can replace what is read: the folder belongs to this user alone.
        self.root = base / f"{SCRATCH_FOLDER}-{os.getuid()}"

    def local(self, path: Path) -> Path:
        """A copy of a file on this node, or the file itself where it cannot be copied."""
        root = self.root  # another thread may set it to None
        if root is None:
            return path
        try:
            if path not in self._copies:
                self._copies[path] = _copy(path, root)
            return self._copies[path]
        except (OSError, NotImplementedError) as error:  # the latter: no locks on that disk
            log.warning("%s cannot be copied to %s and is read directly: %s", path, root, error)
            self.root = None
            return path


def _copy(path: Path, root: Path) -> Path:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if root.stat().st_uid != os.getuid():
        raise PermissionError(f"{root} belongs to another user")
    info = path.stat()
    # Each version of the file has a copy of its own, with the suffix that readers look at.
    version = f"{path.resolve()}\0{info.st_size}\0{info.st_mtime_ns}"
    name = hashlib.sha256(version.encode()).hexdigest()[:32]
    copy = root / f"{name}{path.suffix}"
    with FileLock(root / f"{name}.lock"):
        if not (copy.is_file() and copy.stat().st_size == info.st_size):
            with atomic_path(copy) as temporary:
                shutil.copyfile(path, temporary)
                if file_sha256(temporary) != file_sha256(path):
                    raise OSError(f"the copy of {path} differs from it")
    return copy
