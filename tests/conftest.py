"""Fixtures that several folders of tests share."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from browsing import NO_CHROMIUM, browser, open_report  # noqa: F401
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

if TYPE_CHECKING:
    from nstcore.core.encoders.vgg import VGG

# No time limits, since the machine may be busy, and the same examples at every run, so that a change is
# what makes a test fail.  New examples: pytest --hypothesis-profile=search
settings.register_profile(
    "steady",
    deadline=None,
    max_examples=50,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is no fault of the test
)
settings.register_profile("search", deadline=None, max_examples=500)
settings.load_profile("steady")


# A shell's job in the background ignores Ctrl-C, and every run that a test starts would do so too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say loudly what was not tested because a program is missing."""
    skipped = terminalreporter.stats.get("skipped", [])
    missing = sum(NO_CHROMIUM in str(report.longrepr) for report in skipped)
    if missing:
        terminalreporter.section("NOT TESTED", sep="!", red=True, bold=True)
        terminalreporter.line(f"{missing} tests of pages in a browser were skipped: {NO_CHROMIUM}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs of the whole workflow first: side by side, the longest files must not be left for the end."""
    items.sort(key=lambda item: "workflow" not in item.path.parts)


SMALL_WIDTHS = (4, 6, 8, 8, 8)


@pytest.fixture(scope="session")
def random_vgg() -> Callable[..., VGG]:
    """Make narrow VGGs with random weights whose activations neither vanish nor explode."""
    import torch

    from nstcore.core.encoders.vgg import VGG

    def make(
        widths: tuple[int, ...] = SMALL_WIDTHS,
        *,
        depth: str = "relu5_1",
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        **geometry: Any,
    ) -> VGG:
        random = torch.Generator().manual_seed(seed)
        encoder = VGG(widths, depth=depth, **geometry)
        for convolution in encoder.convolutions.values():
            weight, bias = convolution.weight, convolution.bias
            # He et al. 2015, eq. 10: the variance that rectified layers hand on unchanged.
            spread = (2 / (9 * weight.shape[1])) ** 0.5
            weight.copy_(spread * torch.randn(weight.shape, generator=random))
            bias.copy_(0.1 * torch.randn(bias.shape, generator=random))
        return encoder.to(dtype)

    return make


@pytest.fixture(scope="session")
def waves() -> Callable[..., NDArray[np.float32]]:
    """Make pictures (H, W, 3) float32 in [0, 1] of coloured waves, different for every seed."""

    def make(height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
        random = np.random.default_rng(seed)
        y, x = np.mgrid[0:height, 0:width] / max(height, width)
        planes = [
            0.5
            + 0.4 * np.sin(x * random.uniform(3, 20) + y * random.uniform(3, 20) + random.random())
            for _ in range(3)
        ]
        return np.stack(planes, axis=-1).astype(np.float32)

    return make
