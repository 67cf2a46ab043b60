"""The optimizers, one file each: a class derived from ``Minimizer`` with a ``name`` is found by itself.

Importing this package does not import torch.
"""

from __future__ import annotations

from nstcore.core.lazy import discover
from nstcore.core.minimize import Minimizer

OPTIMIZERS: dict[str, type[Minimizer]] = discover(__name__, __path__, Minimizer)
"""Value of the setting ``optimizer`` -> its class."""
