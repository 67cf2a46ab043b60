"""Wasserstein-2 distances against closed forms, scipy and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor
from torch.autograd import gradcheck

from nstcore.core.losses.wasserstein import (
    decomposed_overlap,
    iterated_overlap,
    polar_newton_schulz,
    sqrt_newton_schulz,
    target_gaussian,
    wasserstein2,
)
from nstcore.core.moments import channel_mean, covariance_matrix, gram_matrix

OVERLAPS = [decomposed_overlap, iterated_overlap]


def _covariance(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Well-conditioned covariances (..., C, C)."""
    random = torch.Generator().manual_seed(seed)
    factor = torch.randn(*shape, 3 * shape[-1], generator=random, dtype=dtype)
    return factor @ factor.mT / factor.shape[-1]


def _mean(*shape: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(100 + seed)
    return torch.randn(shape, generator=random, dtype=torch.float64)


def _orthogonal(c: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(c, c, generator=random, dtype=torch.float64)).Q


def _distance(mean: Tensor, covariance: Tensor, to_mean: Tensor, to: Tensor, floor=1e-9) -> Tensor:
    floors = torch.full(to.shape[:1], floor, dtype=to.dtype)
    return wasserstein2(mean, covariance, target_gaussian(to_mean, to, floors))


def _scipy(mean: Tensor, covariance: Tensor, to_mean: Tensor, to: Tensor) -> float:
    """The distance by the formula's letter."""
    s, t = covariance.numpy(), to.numpy()
    half = sqrtm(t)
    middle = sqrtm(half @ s @ half)
    shift = np.sum((mean - to_mean).numpy() ** 2)
    return float(shift + np.trace(s + t - 2 * middle).real)


# --- roots ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)], ids=["64", "32"]
)
def test_roots_are_those_of_scipy(scale, dtype, tolerance):
    matrices = scale * _covariance(3, 12)
    root, inverse = sqrt_newton_schulz(matrices.to(dtype))
    expected = torch.stack([torch.from_numpy(sqrtm(m.numpy()).real) for m in matrices])
    size = expected.norm()
    assert float((root - expected).norm() / size) < tolerance
    assert float((root @ inverse - torch.eye(12)).norm()) < 100 * tolerance


def test_roots_of_ill_conditioned_matrices_in_float32():
    """The condition that the number of steps is made for."""
    values = torch.logspace(0, -4, 40, dtype=torch.float64)
    basis = _orthogonal(40)
    matrix = (basis * values) @ basis.mT
    root, _ = sqrt_newton_schulz(matrix.float().unsqueeze(0))
    expected = (basis * values.sqrt()) @ basis.mT
    assert float((root[0] - expected).norm() / expected.norm()) < 1e-4


def test_polar_factors_are_orthogonal_and_leave_a_symmetric_rest():
    values = torch.logspace(0, -3, 30)
    x = (_orthogonal(30) * values) @ _orthogonal(30, seed=1)
    polar = polar_newton_schulz(x.float().unsqueeze(0))[0]
    torch.testing.assert_close(polar @ polar.mT, torch.eye(30), atol=1e-4, rtol=0)
    rest = polar.double() @ x.mT
    torch.testing.assert_close(rest, rest.mT, atol=1e-4, rtol=0)
    assert torch.linalg.eigvalsh(rest).min() > 0


# --- the distance --------------------------------------------------------------------------------


def test_one_dimension_is_the_distance_of_means_and_deviations():
    mean, to_mean = torch.tensor([[2.0]]).double(), torch.tensor([[-1.0]]).double()
    deviation, to = 3.0, 0.5
    found = _distance(mean, torch.tensor([[[deviation**2]]]).double(), to_mean,
                      torch.tensor([[[to**2]]]).double())  # fmt: skip
    assert float(found) == pytest.approx(3.0**2 + (deviation - to) ** 2)


def test_commuting_covariances_compare_their_deviations():
    basis = _orthogonal(7)
    a, b = torch.rand(2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.1
    zero = torch.zeros(1, 7, dtype=torch.float64)
    found = _distance(
        zero, ((basis * a) @ basis.mT)[None], zero, ((basis * b) @ basis.mT)[None], 1e-12
    )
    assert float(found) == pytest.approx(float((a.sqrt() - b.sqrt()).square().sum()))


@pytest.mark.parametrize("c", [2, 5, 17])
def test_random_gaussians_as_scipy_has_them(c):
    mean, to_mean = _mean(3, c), _mean(3, c, seed=1)
    covariance, to = _covariance(3, c), _covariance(3, c, seed=1)
    found = _distance(mean, covariance, to_mean, to)
    for i in range(3):
        expected = _scipy(mean[i], covariance[i], to_mean[i], to[i])
        assert float(found[i]) == pytest.approx(expected, rel=1e-6)


def test_both_ways_to_the_overlap_agree():
    covariance, to = _covariance(3, 20), _covariance(1, 20, seed=1)
    target = target_gaussian(_mean(1, 20), to, torch.tensor([1e-3]).double())
    for one, other in zip(
        decomposed_overlap(covariance, target.root, target.floor),
        iterated_overlap(covariance, target.root, target.floor),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_the_map_leads_from_one_covariance_to_the_other():
    """T S T = S' (Olkin & Pukelsheim 1982)."""
    covariance, to = _covariance(1, 9), _covariance(1, 9, seed=1)
    target = target_gaussian(_mean(1, 9), to, torch.tensor([1e-12]).double())
    for overlap in OVERLAPS:
        _, transport = overlap(covariance, target.root, target.floor)
        torch.testing.assert_close(transport @ covariance @ transport, to, rtol=1e-5, atol=1e-6)


def test_rotations_change_nothing():
    basis = _orthogonal(8)
    mean, to_mean = _mean(2, 8), _mean(2, 8, seed=1)
    covariance, to = _covariance(2, 8), _covariance(2, 8, seed=1)
    turned = _distance(
        mean @ basis.mT, basis @ covariance @ basis.mT, to_mean @ basis.mT, basis @ to @ basis.mT
    )
    torch.testing.assert_close(turned, _distance(mean, covariance, to_mean, to))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("floor", [1e-9, 3e-4])
def test_equal_gaussians_have_no_distance(dtype, floor):
    # Of rank 5 in 12 dimensions: 7 directions have no variance at all.
    features = _mean(2, 12, 1, 5).to(dtype)
    mean = channel_mean(features)
    covariance = covariance_matrix(gram_matrix(features), mean)
    found = _distance(mean, covariance, mean, covariance, floor)
    assert bool((found >= 0).all())
    assert float(found.max()) < (1e-9 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_float32_never_overestimates_the_overlap_by_more_than_rounding(overlap):
    """Also where one covariance is far larger than the other."""
    for scale in (1e-6, 1e-3, 1.0, 1e3, 1e6):
        covariance, to = scale * _covariance(2, 24), _covariance(2, 24, seed=1)
        target = target_gaussian(_mean(2, 24), to, 3e-4 * torch.ones(2, dtype=torch.float64))
        exact, _ = decomposed_overlap(covariance, target.root, target.floor)
        found, transport = overlap(covariance.float(), target.root.float(), target.floor.float())
        assert bool(transport.isfinite().all())
        assert bool((found <= exact * (1 + 1e-4)).all())
        if 1e-3 <= scale <= 1e3:
            torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=0)


def test_pictures_do_not_know_of_each_other_and_may_share_a_target():
    covariance, mean = _covariance(3, 6), _mean(3, 6)
    to, to_mean = _covariance(1, 6, seed=1), _mean(1, 6, seed=1)
    together = _distance(mean, covariance, to_mean, to)
    for i in range(3):
        alone = _distance(mean[i : i + 1], covariance[i : i + 1], to_mean, to)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-12, atol=0)


def test_what_is_not_finite_stays_with_its_picture():
    covariance = _covariance(3, 6).requires_grad_()
    broken = covariance * torch.tensor([1.0, math.nan, 1.0]).double()[:, None, None]
    found = _distance(_mean(3, 6), broken, _mean(1, 6, seed=1), _covariance(1, 6, seed=1))
    assert found.isfinite().tolist() == [True, False, True]
    (gradient,) = torch.autograd.grad(found.sum(), covariance)
    assert bool(gradient[[0, 2]].isfinite().all())


# --- gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("floor", [1e-9, 1e-2])
def test_gradient_against_finite_differences(floor):
    target = target_gaussian(
        _mean(1, 5, seed=1),
        _covariance(1, 5, seed=1),
        torch.full((1,), floor, dtype=torch.float64),
    )

    def distance(mean: Tensor, matrix: Tensor) -> Tensor:
        return wasserstein2(mean, 0.5 * (matrix + matrix.mT), target)

    assert gradcheck(distance, (_mean(2, 5).requires_grad_(), _covariance(2, 5).requires_grad_()))


def test_the_iterated_map_is_the_slope_of_the_iterated_overlap():
    target = target_gaussian(
        _mean(1, 5), _covariance(1, 5, seed=1), torch.full((1,), 1e-3, dtype=torch.float64)
    )
    covariance, direction = _covariance(2, 5), _covariance(2, 5, seed=2)

    def overlap(matrix: Tensor) -> Tensor:
        return iterated_overlap(matrix, target.root, target.floor)[0]

    step = 1e-6 * direction
    found = (overlap(covariance + step) - overlap(covariance - step)) / 2e-6
    _, transport = iterated_overlap(covariance, target.root, target.floor)
    torch.testing.assert_close(found, 0.5 * (transport * direction).sum((1, 2)), rtol=1e-6, atol=0)


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("kind", ["black", "grey", "one direction", "constant target"])
def test_singular_covariances_have_finite_gradients_in_float32(overlap, kind, monkeypatch):
    monkeypatch.setattr("nstcore.core.losses.wasserstein.decomposed_overlap", overlap)
    random = torch.Generator().manual_seed(0)
    style = 300 * torch.rand(1, 64, 8, 8, generator=random)
    picture = {
        "black": torch.zeros(1, 64, 8, 8),
        "grey": torch.full((1, 64, 8, 8), 123.4),
        "one direction": torch.arange(64.0).view(1, 1, 8, 8).expand(1, 64, 8, 8).contiguous(),
        "constant target": style.clone(),
    }[kind].requires_grad_()
    if kind == "constant target":
        style = torch.full_like(style, 3.0)
    mean = channel_mean(style)
    gram = gram_matrix(style)
    energy = gram.diagonal(dim1=-2, dim2=-1).sum(-1)
    target = target_gaussian(mean, covariance_matrix(gram, mean), 3e-4 * energy)
    shown = channel_mean(picture)
    found = wasserstein2(shown, covariance_matrix(gram_matrix(picture), shown), target)
    (gradient,) = torch.autograd.grad(found.sum(), picture)
    assert math.isfinite(found.item())
    assert found.item() > 0
    assert bool(gradient.isfinite().all())
