"""Gram matrices against plain loops, and their lifting through a linear adapter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nstcore.core.moments import channel_mean, gram_and_mean, gram_matrix, lift_gram


def _loop(features: torch.Tensor) -> np.ndarray:
    """Mean over positions of F_i F_j, one number after the other."""
    array = features.detach().double().numpy()
    n, c, h, w = array.shape
    gram = np.zeros((n, c, c))
    for picture in range(n):
        for i in range(c):
            for j in range(c):
                total = 0.0
                for row in range(h):
                    for column in range(w):
                        total += array[picture, i, row, column] * array[picture, j, row, column]
                gram[picture, i, j] = total / (h * w)
    return gram


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)),
    seed=st.integers(0, 999),
)
def test_equals_a_plain_loop(shape, seed):
    features = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()
    np.testing.assert_allclose(gram_matrix(features).numpy(), _loop(features), atol=1e-12)


LAYOUTS = {
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "every second pixel": lambda x: x.repeat_interleave(2, dim=3)[..., ::2],
    "channels of a larger tensor": lambda x: torch.cat([x, x + 1], dim=1)[:, : x.shape[1]],
    "batch of a larger tensor": lambda x: torch.stack([x, x + 1], dim=1)[:, 0],
    "expanded": lambda x: x[:1].expand_as(x),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(1, 16, 9, 14), (3, 40, 12, 7), (2, 5, 1, 1)])
def test_single_precision_and_its_slope_are_those_of_double(shape, layout):
    """Float32 goes through convolution kernels on a CPU, float64 through matrix products."""
    random = torch.Generator().manual_seed(2)
    features = LAYOUTS[layout](torch.randn(shape, generator=random))
    weight = torch.randn(shape[0], shape[1], shape[1], generator=random)
    found = []
    for precision in (torch.float32, torch.float64):
        leaf = features.detach().to(precision).requires_grad_()
        gram, mean = gram_and_mean(leaf)
        # Not symmetric: the slope must add both halves of a symmetric matrix.
        value = (gram * weight.to(precision)).sum() + (mean * weight[:, 0].to(precision)).sum()
        (slope,) = torch.autograd.grad(value, leaf)
        found.append((gram.double(), slope.double()))
        torch.testing.assert_close(mean, features.to(precision).mean((2, 3)))
    (gram, slope), (wanted, wanted_slope) = found
    scale = float(wanted.detach().abs().max())
    torch.testing.assert_close(gram, wanted, rtol=0, atol=2e-6 * scale)
    torch.testing.assert_close(
        slope, wanted_slope, rtol=0, atol=5e-6 * float(wanted_slope.abs().max())
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layout_does_not_matter(layout):
    features = LAYOUTS[layout](torch.randn(2, 3, 4, 5, dtype=torch.float64))
    assert features.shape == (2, 3, 4, 5)
    np.testing.assert_allclose(gram_matrix(features).numpy(), _loop(features), atol=1e-12)
    np.testing.assert_allclose(
        channel_mean(features).numpy(), features.numpy().mean(axis=(2, 3)), atol=1e-12
    )


def test_is_symmetric_positive_semidefinite_and_blind_to_positions():
    features = torch.randn(2, 6, 7, 9, dtype=torch.float64)
    gram = gram_matrix(features)
    torch.testing.assert_close(gram, gram.mT)
    assert torch.linalg.eigvalsh(gram).min() > -1e-12
    shuffled = features.flatten(2)[..., torch.randperm(63)].view_as(features)
    torch.testing.assert_close(gram_matrix(shuffled), gram)


def test_repeating_a_picture_does_not_change_it():
    features = torch.randn(1, 5, 6, 8, dtype=torch.float64)
    torch.testing.assert_close(gram_matrix(features.tile(1, 1, 2, 3)), gram_matrix(features))


def test_half_precision_does_not_overflow():
    # A plain sum over 64 x 64 positions of 30 * 30 would be 3.7 million, far above 65504.
    features = torch.full((1, 2, 64, 64), 30.0, dtype=torch.float16)
    gram = gram_matrix(features)
    torch.testing.assert_close(gram.float(), torch.full((1, 2, 2), 900.0), rtol=1e-2, atol=0)


@pytest.mark.parametrize("widened", [2, 5, 11])
def test_lifting_equals_the_gram_matrix_of_lifted_activations(widened):
    features = torch.randn(3, 5, 4, 6, dtype=torch.float64)
    weight = torch.randn(widened, 5, dtype=torch.float64)
    bias = torch.randn(widened, dtype=torch.float64)
    explicit = torch.einsum("kc,nchw->nkhw", weight, features) + bias.view(1, -1, 1, 1)
    lifted = lift_gram(gram_matrix(features), channel_mean(features), weight, bias)
    torch.testing.assert_close(lifted, gram_matrix(explicit))
