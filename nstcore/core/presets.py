"""Named bases for the settings; what is set beside ``preset`` overrides it."""

from __future__ import annotations

from typing import Any

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
