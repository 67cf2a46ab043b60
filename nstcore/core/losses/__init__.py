"""The losses, one file each; a class derived from ``StyleLoss`` with a ``name`` is found by itself.

Importing this package does not import torch.
"""

from __future__ import annotations

from nstcore.core.lazy import discover
from nstcore.core.losses.base import StyleLoss

STYLE_LOSSES: dict[str, type[StyleLoss]] = discover(__name__, __path__, StyleLoss)
"""Value of the setting ``statistic`` -> its class."""
