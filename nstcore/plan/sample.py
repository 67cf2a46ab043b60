"""Points drawn from a grid that is too large to be computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

Method = Literal["lhs", "sobol", "random"]

_BLOCKS = 64
"""How often further points are drawn where points of the first draw were alike."""


def shares(method: Method, dimensions: int, n: int, seed: int) -> Iterator[Sequence[float]]:
    """Points in the unit cube, without end.

    The first ``n`` are what the method gives for ``n`` points; from then on further blocks of the
    same size follow.  Of `sobol` and `random` a larger ``n`` begins with the points of a smaller
    one.

    Args:
        method: see :class:`nstcore.config.sweep.Sample`.
        dimensions: of the cube.
        n: how many points are wanted.
        seed: of the random numbers.
    """
    import numpy as np
    from scipy.stats import qmc

    random = np.random.default_rng(seed)
    if method == "random":
        while True:
            yield random.random(dimensions).tolist()
    kind = qmc.LatinHypercube if method == "lhs" else qmc.Sobol
    try:
        engine = kind(dimensions, rng=random)
    except TypeError:  # before SciPy 1.15
        engine = kind(dimensions, seed=random)
    # Sobol' points fill the cube evenly in numbers that are powers of two.
    block = n if method == "lhs" else 1 << (n - 1).bit_length()
    while True:
        yield from engine.random(block).tolist()


def draw(
    method: Method,
    dimensions: int,
    n: int,
    seed: int,
    place: Callable[[Sequence[float]], tuple[str, Any]],
) -> list[Any]:
    """Draw ``n`` points that differ.

    A point that came before is dropped, and the next one takes its place.

    Args:
        method, dimensions, n, seed: see :func:`shares`.
        place: gives a point's identity and the point for its shares in [0, 1).

    Returns:
        The points in the order in which they were drawn; fewer than ``n`` where after many draws
        hardly any new ones come.
    """
    found: dict[str, Any] = {}
    for number, share in enumerate(shares(method, dimensions, n, seed)):
        if len(found) == n or number >= _BLOCKS * max(n, 64):
            break
        key, point = place(share)
        found.setdefault(key, point)
    return list(found.values())
