"""The settings of one picture: every hyper-parameter, once, with its default, range and meaning.

The configuration file, the JSON Schema, the documentation and the command line all take their
defaults and their descriptions from here.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from nstcore.core.encoders.layers import DEEPEST, LAYERS, EncoderName

Layers = Annotated[
    dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]],
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}},
                {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}},
            ]
        }
    ),
]
"""Layer -> weight; one name or a list of names, all with the weight 1, mean the same."""
Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Region = Annotated[
    str,
    StringConstraints(pattern=r"^(#[0-9a-fA-F]{6}|[A-Za-z0-9][A-Za-z0-9._-]*)$", max_length=100),
    AfterValidator(lambda name: name.lower() if name.startswith("#") else name),
]
"""Name of a region: the colour that it has in a guide, or a name of one's own."""


class Settings(BaseModel):
    """Everything that, with the two pictures, the encoder's weights and the seed, determines a cell."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    # --- what sees -----------------------------------------------------------------------------
    encoder: EncoderName = Field(
        "compact",
        description="Network whose activations define both losses: `compact`, a narrow VGG-19 that "
        "comes with the program, or `vgg19` itself, some ten times slower.",
    )
    weights: str | None = Field(
        None,
        description="File with the encoder's weights, or a map of encoders to files, for a grid with "
        "both: for `vgg19` a .pth state dict with `features.N.*` keys or .safetensors, for `compact` "
        "what `nst distill` wrote. Empty: those that come along, or for `vgg19` torchvision's own "
        "download of VGG19_Weights.IMAGENET1K_V1.",
    )
    pooling: Literal["max", "avg", "l2"] = Field(
        "max", description="How the encoder halves the resolution between its stages."
    )
    padding: Literal["zeros", "replicate", "reflect"] = Field(
        "zeros", description="How the encoder continues a picture at its border."
    )

    # --- what is measured ----------------------------------------------------------------------
    content_layers: Layers = Field(
        {"relu4_2": 1.0}, description="Layers of the content loss and their weights."
    )
    style_layers: Layers = Field(
        {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0, "relu4_1": 1.0, "relu5_1": 1.0},
        description="Layers of the style loss and their weights.",
    )
    normalization: Literal["relative", "gradient", "gatys"] = Field(
        "relative",
        description="`relative`: every loss over its target's own energy, so that one weight looks "
        "alike for every picture, size and encoder. `gradient`: the same, and at each level the style "
        "loss is scaled so that at white noise, the start of the article, the ratio of the weights is "
        "that of the gradients' norms. `gatys`: the article's formulas to the letter.",
    )
    statistic: Literal["gram", "w2"] = Field(
        "gram",
        description="What of a layer is the style. `gram`: the Gram matrix, as in the article. `w2`: "
        "mean and covariance, compared by the squared Wasserstein-2 distance of two Gaussians; it "
        "weighs weak features more. Not with `normalization: gatys`.",
    )
    content_weight: Number = Field(1.0, description="Weight of the content loss.")
    style_weight: Number = Field(5.0, description="Weight of the style loss.")
    tv_weight: Number = Field(
        8.0, description="Weight of the total variation: how much neighbouring pixels differ."
    )
    tv_form: Literal["squared", "absolute", "isotropic"] = Field(
        "squared",
        description="What total variation is the mean of. `squared`: squared differences, which smoothes "
        "all edges alike. `absolute`: absolute ones, which removes small differences and leaves large "
        "ones. `isotropic`: the same without a preference for upright and level edges. Both are numbers "
        "some ten times as large as the first: give a `tv_weight` that much smaller.",
    )

    # --- in what colours -----------------------------------------------------------------------
    color: Literal["style", "luminance", "match_content"] = Field(
        "style",
        description="Whose colours the picture gets. `style`: the style's. `match_content`: the "
        "content's, which the style's pictures are given before their style is taken. `luminance`: "
        "only luminance is stylized, and the content's chroma returns at the end.",
    )
    color_match: Literal["cholesky", "pca", "symmetric", "histogram"] = Field(
        "symmetric",
        description="How `color: match_content` gives a style picture the content's colours. "
        "`symmetric`, `pca`, `cholesky`: by a linear map to the content's mean and covariance, the one "
        "that moves colours least, the product of symmetric roots, that of triangular ones. "
        "`histogram`: by the first, and then to the content's distribution along each of its principal "
        "axes.",
    )
    luminance_space: Literal["yiq", "lab"] = Field(
        "yiq",
        description="What `color: luminance` takes for luminance and chroma: Y and I, Q of `yiq`, or L* "
        "and a*, b* of CIE `lab`.",
    )
    guide_propagation: Literal["simple", "inside", "all"] = Field(
        "simple",
        description="Of contents with a `guide`: which activations belong to a region. `simple`: those "
        "over its pixels, in shares at its border; `inside`: only those that see nothing else, of which "
        "deep layers have few; `all`: every one that sees any of it.",
    )
    region_weights: dict[Region, Number] = Field(
        {},
        description="Of contents with a `guide`: region -> factor on `style_weight` within it; 1 for "
        "every region that is not named.",
    )

    # --- at what size --------------------------------------------------------------------------
    size: int = Field(
        512,
        ge=32,
        le=32768,
        description="Size of the picture in pixels: of its long side, or see `size_by`.",
    )
    size_by: Literal["long", "short", "area"] = Field(
        "long",
        description="What `size` is the size of: the `long` side, the `short` side, or the side of a "
        "square of as many pixels (`area`), with which panoramas and squares take the same time and "
        "have strokes of the same size. Styles and levels of the pyramid are measured likewise.",
    )
    style_scale: float = Field(
        1.0,
        gt=0,
        le=16,
        description="Size of the style over that of the picture: larger gives larger strokes. "
        "The style is never enlarged beyond its own size.",
    )
    pyramid_start: int = Field(
        128,
        ge=32,
        description="Size in pixels below which no coarser level is made; at or above `size` "
        "there is one level only.",
    )
    pyramid_factor: float = Field(
        2.0, gt=1, le=8, description="Ratio of the sizes of two successive levels."
    )
    iterations: int | list[int] = Field(
        [200, 150, 100],
        description="Iterations at each level, from coarse to fine: one number for all, or a list "
        "whose last number also serves all finer levels.",
    )

    tolerance: float = Field(
        1e-3,
        ge=0,
        lt=1,
        description="A picture has converged at a level, and leaves it, when its loss fell by less than "
        "this share within ten iterations; 0: never.",
    )

    # --- how it descends -----------------------------------------------------------------------
    optimizer: Literal["lbfgs", "adam"] = Field("lbfgs", description="How the picture is improved.")
    learning_rate: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Step length; empty: 1 for L-BFGS, 0.02 for Adam.",
    )
    history: int = Field(
        10,
        ge=1,
        le=200,
        description="Curvature pairs kept by L-BFGS; memory is twice as many copies of the picture.",
    )
    averaging: float = Field(
        0.99, ge=0, lt=1, description="Decay of Adam's average of the iterates; 0 for none."
    )

    # --- from where ----------------------------------------------------------------------------
    init: Literal["content", "noise", "style", "file"] = Field(
        "content",
        description="Start from the content, from white noise, from noise with the style's mean "
        "colour and covariance, or from the picture in `init_file`.",
    )
    init_file: str | None = Field(None, description="The picture to start from, for `init: file`.")
    init_noise: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Standard deviation of white noise added to the start (pixel values run from 0 "
        "to 1); with it, or with `init: noise` or `style`, seeds give different pictures.",
    )

    @field_validator("weights", mode="before")
    @classmethod
    def _of_this_encoder(cls, value: Any, info: ValidationInfo) -> Any:
        """Of a map, the file of this encoder."""
        if isinstance(value, dict):
            return value.get(info.data.get("encoder"))
        return value

    @field_validator("content_layers", "style_layers", mode="before")
    @classmethod
    def _as_mapping(cls, value: Any) -> Any:
        """A list of names means equal weights; a single name is a list of one."""
        if isinstance(value, str):
            value = [value]
        if isinstance(value, (list, tuple)):
            return dict.fromkeys(value, 1.0)
        return value

    @field_validator("content_layers", "style_layers")
    @classmethod
    def _known_layers(cls, value: dict[str, float]) -> dict[str, float]:
        for name in value:
            if name not in LAYERS:
                raise ValueError(f"there is no layer {name!r}; there are {', '.join(LAYERS)}")
        if not any(weight > 0 for weight in value.values()):
            raise ValueError("give at least one layer with a weight above 0")
        return {name: value[name] for name in LAYERS if name in value}

    @field_validator("iterations")
    @classmethod
    def _some_iterations(cls, value: int | list[int]) -> int | list[int]:
        numbers = value if isinstance(value, list) else [value]
        if not numbers or any(number < 1 for number in numbers):
            raise ValueError("every level needs at least 1 iteration, for example 200")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if (self.init == "file") != (self.init_file is not None):
            raise ValueError("`init: file` and `init_file` need each other")
        if self.statistic == "w2" and self.normalization == "gatys":
            raise ValueError("`normalization: gatys` has no `statistic: w2`; use `statistic: gram`")
        if self.content_weight == 0 and self.style_weight == 0:
            raise ValueError("content_weight and style_weight cannot both be 0")
        last = DEEPEST[self.encoder]
        beyond = [name for name in self.layers if LAYERS.index(name) > LAYERS.index(last)]
        if beyond:
            raise ValueError(
                f"the encoder `{self.encoder}` ends at {last} and has no {beyond[0]}; choose a "
                "shallower layer, or `encoder: vgg19`"
            )
        return self

    @property
    def step_length(self) -> float:
        """The learning rate with its default filled in."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 1.0 if self.optimizer == "lbfgs" else 0.02

    @property
    def layers(self) -> tuple[str, ...]:
        """Every layer that either loss uses, shallow to deep."""
        used = {
            name
            for table in (self.content_layers, self.style_layers)
            for name, weight in table.items()
            if weight > 0
        }
        return tuple(name for name in LAYERS if name in used)

    @property
    def uses_seed(self) -> bool:
        """Whether two seeds can give two pictures."""
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
        """Iterations of every level, in the order of :meth:`level_sizes`."""
        count = len(self.level_sizes())
        if isinstance(self.iterations, int):
            return [self.iterations] * count
        given = self.iterations
        # A list longer than the pyramid keeps its fine end: that is where the picture is finished.
        given = given[-count:]
        return given + [given[-1]] * (count - len(given))

    def style_size(self, level_size: int) -> int:
        """Size by ``size_by`` at which the style is seen at a level of the given size."""
        return max(1, math.floor(level_size * self.style_scale + 0.5))


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
"""Named bases for the settings; what is set beside ``preset`` overrides it."""
