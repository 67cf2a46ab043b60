"""Muon's steps are orthogonal matrices, and it finds the minimum of a convex problem."""

from __future__ import annotations

import pytest
import torch

from tools.distill.muon import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(8, 8), (4, 30), (30, 4)])
def test_all_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    values = torch.logspace(-1.2, 0, len(values))  # badly conditioned
    found = orthogonalize(left @ values.diag() @ right)
    reached = torch.linalg.svdvals(found)
    assert float(reached.min()) > 0.5
    assert float(reached.max()) < 1.3
    # The singular vectors stay: found = U S V^T with the same U and V.
    core = left.mT @ found @ right.mT
    assert float((core - core.diagonal().diag()).abs().max()) < 1e-4


def test_a_step_has_the_given_spectral_norm_whatever_the_gradient() -> None:
    for scale in (1e-4, 1.0, 1e4):
        weight = torch.nn.Parameter(torch.zeros(6, 5, 3, 3))
        weight.grad = scale * torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(2))
        Muon([weight], lr=0.01).step()
        norm = float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2))
        assert 0.006 < norm < 0.013


def test_it_fits_a_convolution() -> None:
    random = torch.Generator().manual_seed(3)
    truth = 0.1 * torch.randn(4, 3, 3, 3, generator=random)
    # Channels of very different size: what makes plain gradient descent slow.
    images = torch.randn(8, 3, 12, 12, generator=random) * torch.tensor([1, 0.1, 0.03]).view(
        3, 1, 1
    )
    weight = torch.nn.Parameter(torch.zeros_like(truth))
    optimizer = Muon([weight], lr=0.02)
    target = torch.nn.functional.conv2d(images, truth)
    for step in range(400):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / 400)
        optimizer.zero_grad()
        (torch.nn.functional.conv2d(images, weight) - target).square().mean().backward()
        optimizer.step()
    assert float((weight.detach() - truth).norm() / truth.norm()) < 0.1
