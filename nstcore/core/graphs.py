"""Iterations of one launch: what a GPU is given to do every time is recorded once, as a CUDA graph.

A single image, or a coarse level, keeps a GPU busy for less time than the host needs to launch some
hundred kernels one by one.  Importing this module does not import torch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from nstcore.core.lazy import lazy_import
from nstcore.errors import first_line

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_import("torch")

log = logging.getLogger(__name__)

T = TypeVar("T")

Capture = Callable[[Callable[[], T]], tuple[Callable[[], None], T]]
"""Records what a function gives the device to do, without doing it: what does it, and the result."""

CALLS_BEFORE = 2
"""Libraries choose their kernels and take their memory in the first calls, which cannot be recorded."""


def capture_cuda(function: Callable[[], T]) -> tuple[Callable[[], None], T]:
    """Record the kernels of a function as a CUDA graph.

    Raises:
        RuntimeError: it does what cannot be recorded, such as wait for the device, or memory is short.
    """
    graph = torch.cuda.CUDAGraph()
    # Other threads may use the device meanwhile, to measure or to reduce finished images.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = function()
    return graph.replay, result


class Replay(Generic[T]):
    """Calls a function that does the same with the same tensors every time, if possible as a graph.

    Its result is made of the same tensors at every call, too: who keeps it copies it.

    Args:
        capture: such as :func:`capture_cuda`; None to call the function itself.
    """

    def __init__(self, capture: Capture[Any] | None) -> None:
        self._capture = capture
        self._calls = 0
        self._recorded: tuple[Callable[[], None], T] | None = None

    def __call__(self, function: Callable[[], T]) -> T:
        """Do what a function does, always the same one.

        It neither waits for the device nor replaces a tensor that it reads at the next call.  It is not
        kept: a method would keep its object alive with all its tensors.
        """
        if self._capture is not None and self._recorded is None:
            self._calls += 1
            if self._calls > CALLS_BEFORE:
                self._record(function, self._capture)
        if self._recorded is None:
            return function()
        replay, result = self._recorded
        replay()
        return result

    def _record(self, function: Callable[[], T], capture: Capture[Any]) -> None:
        try:
            self._recorded = capture(function)
        except RuntimeError as error:
            log.info("no CUDA graph, every kernel is launched by itself: %s", first_line(error))
            self._capture = None

    def forget(self) -> None:
        """Record anew: a tensor was replaced, or the function does something else from now on."""
        self._calls, self._recorded = 0, None
