"""Computing in bfloat16: sums, slopes and whole descents against those in full precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nstcore.core.batched import to_tensor
from nstcore.core.encoders.compact import CompactEncoder, load_compact
from nstcore.core.encoders.vgg import VGG
from nstcore.core.losses.base import squares
from nstcore.core.moments import gram_and_mean, guided_gram_and_mean, style_moments
from nstcore.core.objective import build_objective
from nstcore.core.settings import Settings
from nstcore.core.stylize import StylizeTask, stylize
from nstcore.core.targets import image_moments

ROUNDING = 2.0**-8
"""Largest relative error of a number in bfloat16."""


def activations(seed: int = 0, n: int = 2) -> Tensor:
    """Rectified ones in bfloat16 and channels_last, (N, 6, 96, 80)."""
    values = torch.randn(n, 6, 96, 80, generator=torch.Generator().manual_seed(seed)).relu()
    return values.bfloat16().to(memory_format=torch.channels_last)


def regions(hard: bool, n: int) -> Tensor:
    """Weights (N, 2, 96, 80) that add up to 1 over the positions."""
    weights = torch.rand(n, 2, 96, 80, generator=torch.Generator().manual_seed(3))
    weights = (weights > 0.4).float() if hard else weights
    return weights / weights.sum((-2, -1), keepdim=True)


def slopes_of(sums: tuple[Tensor, Tensor], features: Tensor) -> Tensor:
    """The gradient of a function of the sums that depends on every one of their entries."""
    random = torch.Generator().manual_seed(7)
    total = torch.zeros((), dtype=sums[0].dtype)
    for part in sums:
        total = total + (torch.randn(part.shape, generator=random).to(part) * part).sum()
    return torch.autograd.grad(total, features)[0]


def far(found: Tensor, wanted: Tensor) -> float:
    """Relative distance."""
    return float(((found.double() - wanted).norm() / wanted.norm()).detach())


def test_sums_are_those_of_float64_and_slopes_too_but_for_rounding() -> None:
    half = activations().requires_grad_()
    double = half.detach().double().requires_grad_()
    found, wanted = gram_and_mean(half), gram_and_mean(double)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6)
    slope = slopes_of(found, half)
    assert slope.dtype == torch.bfloat16
    assert slope.is_contiguous(memory_format=torch.channels_last)
    assert far(slope, slopes_of(wanted, double)) < ROUNDING


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_sums_of_regions_are_those_of_float64_but_for_rounding(hard: bool, shared: bool) -> None:
    half = activations().requires_grad_()
    double = half.detach().double().requires_grad_()
    weights = regions(hard, 1 if shared else 2)
    found = guided_gram_and_mean(half, weights)
    wanted = guided_gram_and_mean(double, weights.double())
    assert [one.dtype for one in found] == [torch.float32] * 2
    # Each product is rounded, but their errors average out: also where all weights are the same.
    assert far(found[0], wanted[0]) < ROUNDING / 8
    assert far(found[1], wanted[1]) < ROUNDING / 64
    # On some processors the two halves are summed in another order.
    torch.testing.assert_close(found[0], found[0].mT, rtol=1e-5, atol=1e-6)
    assert far(slopes_of(found, half), slopes_of(wanted, double)) < 2 * ROUNDING


def test_sums_of_squares_are_those_of_float64() -> None:
    half = activations().requires_grad_()
    double = half.detach().double().requires_grad_()
    found, wanted = squares(half), squares(double)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=0)
    weights = torch.tensor([1.003, 0.333])
    (slope,) = torch.autograd.grad((weights * found).sum(), half)
    (exact,) = torch.autograd.grad((weights * wanted).sum(), double)
    assert slope.dtype == torch.bfloat16
    assert far(slope, exact) < ROUNDING
    # It is not scaled as a whole, as by a rounded weight.
    assert float((slope.double() * exact).sum() / exact.square().sum()) == pytest.approx(
        1, abs=2e-4
    )


class Operations(TorchDispatchMode):
    """Records what is computed: operation, its inputs and outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, list[Tensor], list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        tensors = [
            [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
            for tree in ((args, kwargs), found)
        ]
        self.seen.append((str(func), *tensors))
        return found


@pytest.mark.parametrize("adapted", [False, True])
def test_an_iteration_casts_no_weights_and_multiplies_no_activations_in_float32(
    adapted: bool,
) -> None:
    """On ``meta``, which has all operations of a GPU."""
    encoder = CompactEncoder() if adapted else VGG(depth="relu5_1")
    encoder.halve()
    encoder.to("meta")
    pictures = torch.zeros(2, 3, 1024, 1024, device="meta")
    settings = Settings(encoder="compact" if adapted else "vgg19")
    objective = build_objective(
        encoder,
        settings,
        content=encoder(pictures[:1], settings.used_content_layers),
        style=style_moments(encoder, pictures[:1], settings.used_style_layers),
        images=2,
    )
    objective.evaluate(pictures)  # what is found out once
    with Operations() as operations:
        objective.evaluate(pictures)
    matrix = 2 * (max(encoder.widths) + 1) ** 2
    own = {id(parameter) for parameter in encoder.parameters()}
    casts = [
        name
        for name, given, _ in operations.seen
        if "_to_copy" in name and any(id(tensor) in own for tensor in given)
    ]
    assert not casts
    kernels = [
        given
        for name, given, _ in operations.seen
        if any(part in name for part in ("convolution", "mm"))
        if max(tensor.numel() for tensor in given) > matrix
    ]
    assert kernels
    assert all(t.dtype == torch.bfloat16 for given in kernels for t in given)
    # Only the pictures themselves are as large in float32, never activations or a copy of them.
    largest = max(
        tensor.numel()
        for name, given, made in operations.seen
        for tensor in [*given, *made]
        if tensor.dtype == torch.float32 and "expand" not in name
    )
    assert largest <= max(pictures.numel(), matrix)


@pytest.mark.slow
@pytest.mark.parametrize("statistic", ["gram", "w2"])
def test_a_descent_ends_where_that_in_float32_does(
    waves: Callable[..., Any], statistic: str
) -> None:
    settings = Settings(
        encoder="compact",
        statistic=statistic,
        size=64,
        pyramid_start=32,
        iterations=60,
        tolerance=0.0,
    )
    exact, half = load_compact(), load_compact()
    half.halve()
    content, painting = waves(48, 64, 1), waves(56, 64, 2)
    target = [
        image_moments(exact, painting, settings.style_size(level), settings.layers)
        for level in settings.level_sizes()
    ]
    task = StylizeTask(content, target, settings)
    objective = build_objective(
        exact,
        settings,
        content=exact(to_tensor(content), settings.used_content_layers),
        style=target[-1],
    )
    first, second = (
        float(objective(to_tensor(stylize(encoder, [task])[0].image)).total)
        for encoder in (exact, half)
    )
    # The order of sums, which follows from processor and threads, changes either end by a percent.
    assert second == pytest.approx(first, rel=0.03)
