"""The encoders: what planning, memory and losses have to know of a network, without torch.

To add an encoder, write a module with the functions that :class:`EncoderSpec` names, and give it an entry
in :data:`ENCODERS`.
"""

from __future__ import annotations

import importlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nstcore.errors import WeightsError
from nstcore.store.files import atomic_path, file_sha256, write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layer:
    """One layer whose activations can be asked for.

    Attributes:
        name: its name.
        channels: of its activations.
        stride: pixels of the image from one position of the layer to the next.
        inputs: channels that enter its last convolution.
        multiply_adds: of one position, for everything since the layer before.
        filters: weights of the largest convolution since the layer before.
        radius: positions to each side that these convolutions see, after the change of resolution.
        inner: further values per position that autograd keeps on the way, such as those of branches.
    """

    name: str
    channels: int
    stride: int
    inputs: int
    multiply_adds: int
    filters: int
    radius: int = 1
    inner: int = 0

    def positions(self, width: int, height: int) -> int:
        """Positions in an image of that many pixels; an odd last row or column is dropped."""
        return (width // self.stride) * (height // self.stride)

    def values(self, width: int, height: int) -> int:
        """Activations of an image of that many pixels."""
        return self.channels * self.positions(width, height)


@dataclass(frozen=True, eq=False)
class EncoderSpec:
    """An encoder, as far as it has to be known without torch.

    Attributes:
        name: the value of the setting ``encoder``.
        label: the name that people read.
        layers: shallow to deep.
        module: has ``build(depth=, pooling=, padding=)``, which makes an untrained network;
            ``load(path, depth=, pooling=, padding=)``, with trained weights; ``prepare(path,
            destination)``, which checks a file of weights and writes what ``load`` reads; and
            ``download()``, which returns a file of trained weights.
        source: where the weights come from when a configuration names no file.
        find: gives the path at which that file is, or will be.
        file_bytes: size of the prepared weights.
        content_layers, style_layers: layer -> weight, the defaults of the settings.
        evaluation_content: the layer at which finished images are compared with their content.
        evaluation_style: the layers at which they are compared with their style.
        evaluation_held_out: the same for layers that the default settings do not optimize.
        sha256: of the weights that come with the program; empty without.  Such a file decides the
            number of channels.
        adapted: whether losses are taken of ``A F + b`` in place of the activations F.
    """

    name: str
    label: str
    layers: tuple[Layer, ...]
    module: str
    source: str
    find: Callable[[], Path]
    file_bytes: int
    content_layers: Mapping[str, float]
    style_layers: Mapping[str, float]
    evaluation_content: str
    evaluation_style: tuple[str, ...]
    evaluation_held_out: tuple[str, ...] = ()
    sha256: str = ""
    adapted: bool = False

    @property
    def packaged(self) -> bool:
        """Whether the weights come with the program."""
        return bool(self.sha256)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all layers, shallow to deep."""
        return tuple(layer.name for layer in self.layers)

    @cached_property
    def _by_name(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    def __getitem__(self, name: str) -> Layer:
        """The layer of that name.

        Raises:
            ValueError: if the encoder has none.
        """
        if name not in self._by_name:
            raise ValueError(
                f"`{self.name}` has no layer {name!r}; its layers are {', '.join(self.names)}"
            )
        return self._by_name[name]

    @property
    def evaluation_moments(self) -> tuple[str, ...]:
        """Layers whose style statistics every finished image is compared by."""
        return (*self.evaluation_style, *self.evaluation_held_out)

    @property
    def evaluation_layers(self) -> tuple[str, ...]:
        """Every layer that an evaluation needs."""
        return (*self.evaluation_moments, self.evaluation_content)

    def load_module(self) -> Any:
        """The module that builds the network; imports torch."""
        return importlib.import_module(self.module)

    def deepest(self, names: Iterable[str]) -> str:
        """The deepest of some layers: nothing after it has to be computed."""
        return max(names, key=self.names.index)

    def up_to(self, names: Iterable[str]) -> tuple[Layer, ...]:
        """All layers that must be computed for some, shallow to deep."""
        return self.layers[: self.names.index(self.deepest(names)) + 1]

    def stride(self, *names: str) -> int:
        """Pixels from one position to the next in the coarsest of some layers.

        An image must have as many on its short side to reach them.
        """
        return max(self[name].stride for name in names)

    def margin(self, names: Iterable[str]) -> int:
        """How far from a cut, in pixels, activations are not those of the uncut image.

        Each 3 x 3 convolution carries the error of a cut one position inwards; a 2 x 2 pooling, aligned
        with the cut, halves the number of wrong positions, rounded up.

        Returns:
            A multiple of the coarsest layer's stride.

        Example:
            >>> ENCODERS["vgg19"].margin(["relu1_1", "relu4_2"]), ENCODERS["vgg19"].margin(["relu5_1"])
            (40, 80)
        """
        wrong, stride = 0, 1
        for layer in self.up_to(names):
            wrong = -(-wrong * stride // layer.stride) + layer.radius
            stride = layer.stride
        # No layer reaches further than a deeper one: halving is rounded up, then undone by the stride.
        return wrong * stride

    def convolution_flops(self, last: str, width: int, height: int) -> int:
        """Operations of all convolutions up to a layer for one image, forward.

        The gradient with respect to their inputs takes as many again.
        """
        return sum(
            2 * layer.multiply_adds * layer.positions(width, height) for layer in self.up_to([last])
        )

    def gram_flops(self, names: Iterable[str], width: int, height: int) -> int:
        """Operations of one image's Gram matrices, forward: full products, C² M multiply-adds.

        Backward takes as many again: the gradient of F F^T is (S + S^T) F.
        """
        return sum(2 * self[n].channels * self[n].values(width, height) for n in names)


# --- The shape of VGG-19. Names follow the usual convention: ``relu4_2`` is the rectified output of the
# second convolution of the fourth stage (Simonyan & Zisserman 2015, table 1, column E). ---

CONVOLUTIONS_PER_STAGE: tuple[int, ...] = (2, 2, 4, 4, 4)
"""How many 3 x 3 convolutions VGG-19 has between its poolings."""

VGG19_WIDTHS: tuple[int, ...] = (64, 128, 256, 512, 512)
"""Channels of each stage of VGG-19."""

COMPACT_WIDTHS: tuple[int, ...] = (16, 32, 64, 128, 256)
"""Channels of each stage of the compact encoder.

The first two stages cost most of the time, because they see the most pixels; the fifth sees 1/256
of them, so that its extra width costs little and pays where a narrow layer explains least."""

LAYERS: tuple[str, ...] = tuple(
    f"relu{stage}_{index}"
    for stage, count in enumerate(CONVOLUTIONS_PER_STAGE, start=1)
    for index in range(1, count + 1)
)
"""Every layer whose activations can be asked for, from shallow to deep."""

EVAL_CONTENT_LAYER = "relu4_2"
"""The layer at which finished pictures are compared with their content."""

EVAL_STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
"""The layers at which finished pictures are compared with their style."""

EVAL_HELD_OUT_LAYERS = ("relu1_2", "relu2_2", "relu3_2", "relu4_3")
"""Layers that the default settings do not optimize: a check on what the style layers promise."""


def stage(layer: str) -> int:
    """The stage (1 to 5) of a layer name; its activations are ``2 ** (stage - 1)`` times smaller.

    Raises:
        ValueError: if there is no such layer.
    """
    if layer not in LAYERS:
        raise ValueError(f"no layer {layer!r}; there are {LAYERS[0]} to {LAYERS[-1]}")
    return int(layer[4])


def channels(layer: str, widths: tuple[int, ...] = VGG19_WIDTHS) -> int:
    """Channels of a layer in a network with the given stage widths."""
    return widths[stage(layer) - 1]


def torchvision_index(layer: str) -> int:
    """The index N of ``features.N.weight`` of the convolution in front of ``layer``.

    torchvision numbers convolutions, rectifiers and poolings through: ``relu1_1`` is 0, ``relu2_1``
    is 5, ``relu5_1`` is 28.
    """
    before = sum(2 * count + 1 for count in CONVOLUTIONS_PER_STAGE[: stage(layer) - 1])
    return before + 2 * (int(layer[6]) - 1)


def vgg_layers(widths: tuple[int, ...], depth: str = LAYERS[-1]) -> tuple[Layer, ...]:
    """Layers of a VGG-shaped network with 3 x 3 convolutions.

    Args:
        widths: channels of the five stages.
        depth: the last layer.
    """
    found, incoming = [], 3
    for name in LAYERS[: LAYERS.index(depth) + 1]:
        outgoing = channels(name, widths)
        weights = 9 * incoming * outgoing
        found.append(Layer(name, outgoing, 2 ** (stage(name) - 1), incoming, weights, weights))
        incoming = outgoing
    return tuple(found)


COMPACT_FILE = Path(__file__).parent / "compact.safetensors"
"""The compact encoder's weights inside the package."""

COMPACT_SHA256 = "56e9d56dffcfe84886e6aa65a546a98c95d2c94db01f17ff01bf6066a2db223c"
"""Their sha256; a damaged or exchanged file is not loaded."""


def torchvision_cache() -> Path:
    """Where torchvision keeps the file that it downloads."""
    home = os.environ.get("TORCH_HOME")
    base = Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    return base.expanduser() / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth"


COMPACT = EncoderSpec(
    name="compact",
    label="compact",
    layers=vgg_layers(COMPACT_WIDTHS, "relu5_1"),
    module="nstcore.core.encoders.compact",
    source="nstcore",
    find=lambda: COMPACT_FILE,
    file_bytes=4_000_000,
    content_layers={EVAL_CONTENT_LAYER: 1.0},
    style_layers=dict.fromkeys(EVAL_STYLE_LAYERS, 1.0),
    evaluation_content=EVAL_CONTENT_LAYER,
    evaluation_style=EVAL_STYLE_LAYERS,
    evaluation_held_out=EVAL_HELD_OUT_LAYERS,
    sha256=COMPACT_SHA256,
    adapted=True,
)

VGG19 = replace(
    COMPACT,
    name="vgg19",
    label="VGG-19",
    layers=vgg_layers(VGG19_WIDTHS),
    module="nstcore.core.encoders.vgg",
    source="torchvision:VGG19_Weights.IMAGENET1K_V1",
    find=torchvision_cache,
    file_bytes=80_100_000,
    sha256="",
    adapted=False,
)

ENCODERS: dict[str, EncoderSpec] = {spec.name: spec for spec in (COMPACT, VGG19)}
"""Value of the setting ``encoder`` -> the encoder."""


# --- Finding and preparing weights ---


def fetch(encoder: str, weights: str | None, destination: Path, info: Path) -> dict[str, Any]:
    """Bring an encoder's weights into a run: checked, without what no loss needs, quick to load.

    Args:
        encoder: its name.
        weights: a file: for ``vgg19`` a ``.pth`` or ``.safetensors`` file with torchvision's keys, for
            ``compact`` one that the distillation wrote; None for the packaged or downloaded one.
        destination: the ``.safetensors`` file to write.
        info: the JSON to write: name, source and sha256 of the file the weights came from.

    Returns:
        What was written to ``info``.

    Raises:
        WeightsError: if the weights are missing or are not the encoder's.
    """
    spec = ENCODERS[encoder]
    if weights is None and spec.packaged:
        # Their digest says all that loading them with torch would.
        path = spec.find()
        digest = packaged_sha256(spec)
        with atomic_path(destination) as temporary:
            shutil.copyfile(path, temporary)
    else:
        module = spec.load_module()
        path = Path(weights) if weights is not None else module.download()
        with atomic_path(destination) as temporary:
            module.prepare(path, temporary)
        digest = file_sha256(path)
    found = {"name": encoder, "source": weights or spec.source, "sha256": digest}
    write_json(info, found)
    log.info("%s: weights from %s, sha256 %s", encoder, found["source"], found["sha256"])
    return found


def packaged_sha256(spec: EncoderSpec) -> str:
    """The sha256 of an encoder's packaged weights.

    Raises:
        WeightsError: the file is missing, damaged or exchanged.
    """
    path = spec.find()
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; the {spec.label} encoder's weights are missing")
    if (found := file_sha256(path)) != spec.sha256:
        raise WeightsError(f"{path}: damaged (sha256 {found}, not {spec.sha256}); install again")
    return found


def locate(encoder: str, weights: str | None) -> Path:
    """The file that an encoder's weights come from, if it is on this machine.

    Raises:
        WeightsError: if it is not there (yet).
    """
    path = Path(weights) if weights is not None else ENCODERS[encoder].find()
    if not path.is_file():
        hint = "" if weights is not None else "; it is downloaded when the run starts"
        raise WeightsError(f"{encoder}: there is no file {path}{hint}")
    return path
