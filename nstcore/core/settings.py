"""The settings of one image: every hyper-parameter once, with its default, range, meaning and effects.

The configuration file, the JSON Schema, the documentation and the command line take defaults and
descriptions from here.  Keys of cells, batches and estimates of time follow from the declared effects.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from nstcore.core.encoders import ENCODERS, EncoderSpec
from nstcore.core.losses import STYLE_LOSSES
from nstcore.core.optimizers import OPTIMIZERS
from nstcore.core.setting_types import (
    Effects,
    EncoderName,
    Iterations,
    Layers,
    Number,
    OptimizerName,
    Region,
    StatisticName,
    effects_of,
    setting,
)


def _read_by_optimizer(name: str) -> Callable[[Settings], bool]:
    """Whether the chosen optimizer reads a setting."""
    return lambda settings: name in OPTIMIZERS[settings.optimizer].own_settings


class SettingsFields(BaseModel):
    """The table of fields that complete settings and settings as a user writes them share."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    # --- encoder ---
    encoder: EncoderName = setting(
        "compact",
        "Network whose activations define both losses: `compact`, a narrow VGG-19 that comes with the "
        "program, or `vgg19` itself, some ten times slower.",
        Effects(time=True),
    )
    weights: str | dict[EncoderName, str] | None = setting(
        None,
        "File with the encoder's weights, or a map of encoders to files, for a grid with both: for "
        "`vgg19` a .pth state dict with `features.N.*` keys or .safetensors, for `compact` a file that "
        "`nst distill` wrote. Empty: the packaged file, or for `vgg19` torchvision's own download of "
        "VGG19_Weights.IMAGENET1K_V1.",
        # The file's digest is in the key.  That of a packaged encoder decides how wide the network is.
        Effects(
            key=False,
            batch="prepared",
            time=lambda s: s.weights if s.encoder_spec.packaged else None,
        ),
    )
    pooling: Literal["max", "avg", "l2"] = setting(
        "max",
        "How the encoder halves the resolution between its stages.",
        Effects(target=True, time=True),
    )
    padding: Literal["zeros", "replicate", "reflect"] = setting(
        "zeros",
        "How the encoder continues an image at its border.",
        Effects(target=True, time=True),
    )

    # --- losses ---
    content_layers: Layers = setting(
        {"relu4_2": 1.0},
        "Layers of the content loss and their weights.",
        Effects(time=lambda s: s.used_content_layers),
    )
    style_layers: Layers = setting(
        {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0, "relu4_1": 1.0, "relu5_1": 1.0},
        "Layers of the style loss and their weights.",
        Effects(time=lambda s: s.used_style_layers),
    )
    normalization: Literal["relative", "gradient", "gatys"] = setting(
        "relative",
        "`relative`: every loss over its target's own energy, so that one weight looks alike for every "
        "image, size and encoder. `gradient`: the same, and at each level the style loss is scaled so "
        "that at white noise, where the article starts, the ratio of the weights is that of the "
        "gradients' norms. `gatys`: the article's formulas to the letter.",
        Effects(time=True),
    )
    statistic: StatisticName = setting(
        "gram",
        "What of a layer is the style. `gram`: the Gram matrix, as in the article. `w2`: mean and "
        "covariance, compared by the squared Wasserstein-2 distance of two Gaussians; it weighs weak "
        "features more. Not with `normalization: gatys`.",
        Effects(time=True),
    )
    content_weight: Number = setting(1.0, "Weight of the content loss.", Effects(batch="per_image"))
    style_weight: Number = setting(5.0, "Weight of the style loss.", Effects(batch="per_image"))
    tv_weight: Number = setting(
        8.0,
        "Weight of the total variation: how much neighbouring pixels differ.",
        Effects(batch="per_image"),
    )
    tv_form: Literal["squared", "absolute", "isotropic"] = setting(
        "squared",
        "What total variation is the mean of. `squared`: squared differences, which smooths all edges "
        "alike. `absolute`: absolute differences, which removes small differences and leaves large ones. "
        "`isotropic`: the same without a preference for vertical and horizontal edges. The last two "
        "are numbers some ten times as large as the first: give a `tv_weight` that much smaller.",
        Effects(later=True, used=lambda s: s.tv_weight > 0),
    )

    # --- color and regions ---
    color: Literal["style", "luminance", "match_content"] = setting(
        "style",
        "Whose colors the image gets. `style`: the style's. `match_content`: the content's, which the "
        "style images are given before their style is taken. `luminance`: only luminance is stylized, "
        "and the content's chroma returns at the end.",
        Effects(later=True),
    )
    color_match: Literal["cholesky", "pca", "symmetric", "histogram"] = setting(
        "symmetric",
        "How `color: match_content` gives a style image the content's colors. `symmetric`, `pca`, "
        "`cholesky`: by a linear map to the content's mean and covariance: the one that moves colors "
        "least, the product of symmetric roots, that of triangular ones. `histogram`: by the first, and "
        "then to the content's distribution along each of its principal axes.",
        Effects(used=lambda s: s.color == "match_content", batch="prepared"),
    )
    luminance_space: Literal["yiq", "lab"] = setting(
        "yiq",
        "What `color: luminance` takes for luminance and chroma: Y and I, Q of `yiq`, or L* and a*, b* "
        "of CIE `lab`.",
        Effects(used=lambda s: s.color == "luminance", batch="prepared"),
    )
    # The two settings of guides are in the key as part of the guide.
    guide_propagation: Literal["simple", "inside", "all"] = setting(
        "simple",
        "For contents with a `guide`: which activations belong to a region. `simple`: those over its "
        "pixels, in shares at its border; `inside`: only those that see nothing else, of which deep "
        "layers have few; `all`: every one that sees any of it.",
        Effects(key=False),
    )
    region_weights: dict[Region, Number] = setting(
        {},
        "For contents with a `guide`: region -> factor on `style_weight` within it; 1 for every region "
        "that is not named.",
        Effects(key=False, batch="prepared"),
    )

    # --- size ---
    size: int = setting(
        512, "Size of the image in pixels: of its long side, or see `size_by`.", ge=32, le=32768
    )
    size_by: Literal["long", "short", "area"] = setting(
        "long",
        "What `size` is the size of: the `long` side, the `short` side, or the side of a square of as "
        "many pixels (`area`), with which panoramas and squares take the same time and have strokes of "
        "the same size. Styles and levels of the pyramid are measured likewise.",
        Effects(later=True, target=True),
    )
    style_scale: float = setting(
        1.0,
        "Size of the style over that of the image: larger gives larger strokes. The style is never "
        "enlarged beyond its own size.",
        gt=0,
        le=16,
    )
    # The sizes of the pyramid's levels are in the key, whatever leads to them.
    pyramid_start: int = setting(
        128,
        "Size in pixels below which no coarser level is made; at or above `size` there is one level "
        "only.",
        Effects(key=False),
        ge=32,
    )
    pyramid_factor: float = setting(
        2.0, "Ratio of the sizes of two successive levels.", Effects(key=False), gt=1, le=8
    )
    iterations: Iterations = setting(
        [200, 150, 100],
        "Iterations at each level, from coarse to fine: one number for all, or a list whose last number "
        "also serves all finer levels.",
        Effects(key=lambda s: s.level_iterations()),
    )
    tolerance: float = setting(
        1e-3,
        "An image has converged at a level, and leaves it, when its loss fell by less than this share "
        "within ten iterations; 0: never.",
        ge=0,
        lt=1,
    )

    # --- optimization ---
    optimizer: OptimizerName = setting("lbfgs", "How the image is optimized.", Effects(time=True))
    learning_rate: float | None = setting(
        None,
        "Step length; empty: 1 for L-BFGS, 0.02 for Adam.",
        Effects(key=lambda s: s.step_length, batch="per_image"),
        gt=0,
        allow_inf_nan=False,
    )
    history: int = setting(
        10,
        "Curvature pairs kept by L-BFGS; memory is twice as many copies of the image.",
        Effects(used=_read_by_optimizer("history"), time=True),
        ge=1,
        le=200,
    )
    averaging: float = setting(
        0.99,
        "Decay of Adam's average of the iterates; 0 for none.",
        Effects(used=_read_by_optimizer("averaging")),
        ge=0,
        lt=1,
    )

    # --- initialization ---
    init: Literal["content", "noise", "style", "file"] = setting(
        "content",
        "Start from the content, from white noise, from noise with the style's mean color and "
        "covariance, or from the image in `init_file`.",
    )
    init_file: str | None = setting(
        None,
        "The image to start from, for `init: file`.",
        Effects(key=False, batch="prepared"),  # the image's digest is in the key
    )
    init_noise: float = setting(
        0.0,
        "Standard deviation of white noise added to the start (pixel values run from 0 to 1); with it, "
        "or with `init: noise` or `style`, seeds give different images.",
        ge=0,
        le=1,
    )


class Settings(SettingsFields):
    """Everything that, with both images, the encoder's weights and the seed, determines a cell."""

    if TYPE_CHECKING:
        weights: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_the_encoder(cls, values: Any) -> Any:
        """Of a map of weights the file of the encoder, and the layers that it is used with."""
        if not isinstance(values, dict):
            return values
        encoder = values.get("encoder", cls.model_fields["encoder"].default)
        if isinstance(values.get("weights"), dict):
            values = {**values, "weights": values["weights"].get(encoder)}
        if not isinstance(encoder, str) or encoder not in ENCODERS:
            return values
        spec = ENCODERS[encoder]
        return {
            "content_layers": {**spec.content_layers},
            "style_layers": {**spec.style_layers},
            **values,
        }

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if (self.init == "file") != (self.init_file is not None):
            raise ValueError("`init: file` and `init_file` need each other")
        if self.normalization not in STYLE_LOSSES[self.statistic].normalizations:
            able = (n for n, s in STYLE_LOSSES.items() if self.normalization in s.normalizations)
            raise ValueError(
                f"`normalization: {self.normalization}` has no `statistic: {self.statistic}`; use "
                f"`statistic: {' or '.join(able)}`"
            )
        if self.content_weight == 0 and self.style_weight == 0:
            raise ValueError("content_weight and style_weight cannot both be 0")
        spec = self.encoder_spec
        for name in (*self.used_content_layers, *self.used_style_layers):
            if name not in spec.names:
                others = [other for other in ENCODERS.values() if name in other.names]
                raise ValueError(
                    f"the encoder `{self.encoder}` ends at {spec.names[-1]} and has no {name}; choose "
                    f"another layer, or `encoder: {others[0].name}`"
                )
        return self

    @property
    def encoder_spec(self) -> EncoderSpec:
        """The encoder's layers and what else is known of it without torch."""
        return ENCODERS[self.encoder]

    @property
    def step_length(self) -> float:
        """The learning rate with its default filled in."""
        if self.learning_rate is not None:
            return self.learning_rate
        return OPTIMIZERS[self.optimizer].default_learning_rate

    @property
    def used_content_layers(self) -> tuple[str, ...]:
        """Layers of the content loss with a weight above 0, shallow to deep."""
        return tuple(name for name, weight in self.content_layers.items() if weight > 0)

    @property
    def used_style_layers(self) -> tuple[str, ...]:
        """Layers of the style loss with a weight above 0, shallow to deep."""
        return tuple(name for name, weight in self.style_layers.items() if weight > 0)

    @property
    def layers(self) -> tuple[str, ...]:
        """Every layer that either loss uses, shallow to deep."""
        used = {*self.used_content_layers, *self.used_style_layers}
        return tuple(name for name in self.encoder_spec.names if name in used)

    @property
    def uses_seed(self) -> bool:
        """Whether two seeds can give two images."""
        return self.init in ("noise", "style") or self.init_noise > 0

    def level_sizes(self) -> list[int]:
        """Size of every pyramid level by ``size_by``, coarse to fine; the last is ``size``."""
        sizes = [self.size]
        while True:
            smaller = round(self.size / self.pyramid_factor ** len(sizes))
            if smaller < self.pyramid_start or smaller < 32:
                return sizes[::-1]
            sizes.append(smaller)

    def level_iterations(self) -> list[int]:
        """Iterations of every level, in the order of `level_sizes`."""
        count = len(self.level_sizes())
        given = [self.iterations] if isinstance(self.iterations, int) else self.iterations
        # A list longer than the pyramid keeps its fine end: that is where the image is finished.
        given = given[-count:]
        return given + [given[-1]] * (count - len(given))

    def style_size(self, level_size: int) -> int:
        """Size by ``size_by`` at which the style is seen at a level of the given size."""
        return max(1, math.floor(level_size * self.style_scale + 0.5))


EFFECTS = effects_of(Settings)
"""Setting -> what follows from its value."""

PER_IMAGE = tuple(name for name, effects in EFFECTS.items() if effects.batch == "per_image")
"""Settings of which each image of a batch has a value of its own, a number."""


def batch_key(settings: Settings) -> str:
    """What must be equal for two images of one size to be optimized in one batch."""
    return settings.model_dump_json(
        include={name for name, effects in EFFECTS.items() if effects.batch == "same"}
    )


# --- Named bases for the settings; what is set beside ``preset`` overrides it. ---

PRESETS: dict[str, dict[str, Any]] = {
    # Gatys, Ecker & Bethge, arXiv 1508.06576: average pooling, content relu4_2, five style layers
    # with w = 1/5, white noise as the start, L-BFGS at one size, alpha/beta = 1e-3 (section 2, fig. 2).
    "gatys": {
        "encoder": "vgg19",
        "normalization": "gatys",
        "statistic": "gram",
        "pooling": "avg",
        "padding": "zeros",
        "content_layers": {"relu4_2": 1.0},
        "style_layers": {f"relu{stage}_1": 0.2 for stage in range(1, 6)},
        "content_weight": 1.0,
        "style_weight": 1000.0,
        "tv_weight": 0.0,
        "pyramid_start": 32768,
        "iterations": 500,
        "optimizer": "lbfgs",
        "learning_rate": 1.0,
        "history": 100,
        "init": "noise",
    },
    # To see quickly where a grid leads: about a third of the default's iterations.
    "fast": {
        "statistic": "w2",
        "iterations": [80, 50, 30],
        "history": 5,
    },
    # Levels by the root of 2 and W2, as in K. Crowson's style-transfer-pytorch: strokes are laid out
    # from large to small, with none left out between two sizes.  At one and the same content error the
    # compact encoder leaves three times the style error: benchmarks/presets.py.
    "best": {
        "encoder": "vgg19",
        "statistic": "w2",
        "tv_weight": 2.0,
        "pyramid_factor": 1.4142,
        "iterations": [200, 160, 130, 100],
        "optimizer": "lbfgs",
    },
}
