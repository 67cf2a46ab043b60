r"""Squared Wasserstein-2 distances between the Gaussians that have a layer's moments.

.. math:: W_2^2 = \|\mu - \mu'\|^2
          + \operatorname{tr}\bigl(S + S' - 2 (S'^{1/2} S\, S'^{1/2})^{1/2}\bigr)

for means :math:`\mu, \mu'` and covariances :math:`S, S'` (Dowson & Landau, *The Fréchet Distance between
Multivariate Normal Distributions*, 1982, eq. 4).  As a style loss: K. Crowson, style-transfer-pytorch.
It weighs a channel's deviation by its standard deviation where the Gram matrix weighs it by its
variance, so that weak channels count for more and means and spreads are told apart.

The trace of the root is the only part that takes work.  Its derivative has a closed form, with the
optimal map T between the two Gaussians (Olkin & Pukelsheim 1982),

.. math:: \frac{\partial W_2^2}{\partial S} = I - T, \qquad
          T = S'^{1/2} (S'^{1/2} S\, S'^{1/2})^{-1/2} S'^{1/2},

which both ways of computing the root yield on the side: no derivative of a root is ever needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from nstcore.core.batched import Selectable
from nstcore.core.lazy import lazy_import
from nstcore.core.losses.base import StyleLoss, over_energy

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nstcore.core import moments
    from nstcore.core.moments import LossSpace, Moments
else:
    torch = lazy_import("torch")
    moments = lazy_import("nstcore.core.moments")

FLOOR = 3e-4
"""Variance added to every direction of both Gaussians, as a share of the target's energy.

It bounds the map between them where an image does not vary (the root has no finite slope at 0), and
must stand well above what float32 keeps of a sum of squares.  Being added to both, it leaves the
distance of equal Gaussians at 0 and no distance negative."""

ROOT_STEPS = 11
POLAR_STEPS = 14
"""Newton-Schulz steps after which the singular values within ``_LOWEST`` of the largest are 1."""

_LOWEST = {ROOT_STEPS: 1e-2, POLAR_STEPS: 3e-4}


class WassersteinLoss(StyleLoss):
    """Squared W2 distance of the Gaussians with the moments of image and style, over the style's energy.

    The energy is the trace of the style's second moment.
    """

    name: ClassVar[str] = "w2"
    label: ClassVar[str] = "Wasserstein-2 distance"
    formula: ClassVar[str] = "W₂²(N(μ, S), N(μ', S')) / (‖μ'‖² + tr S')"
    normalizations: ClassVar[tuple[str, ...]] = ("relative", "gradient")

    def __init__(self, style: Moments, space: LossSpace, settings: Any) -> None:
        super().__init__(style, space, settings)
        mean, covariance = space.mean_and_covariance(style)
        self.energy = space.mean(style.mean).square().sum(1) + _trace(covariance)
        self.target = target_gaussian(mean, covariance, FLOOR * self.energy)

    def __call__(self, image: Moments) -> Tensor:
        """See :meth:`StyleLoss.__call__`."""
        distance = wasserstein2(*self.space.mean_and_covariance(image), self.target)
        return over_energy(distance, self.energy)


@dataclass(frozen=True)
class Gaussian(Selectable):
    """What is needed of a target, computed once.

    Attributes:
        mean: (N, C), N = 1 when all images share it.
        root: (N, C, C), the symmetric root of covariance + floor.
        trace: (N,), of the covariance without the floor.
        floor: (N,), the variance added to every direction.
    """

    mean: Tensor
    root: Tensor
    trace: Tensor
    floor: Tensor


def target_gaussian(mean: Tensor, covariance: Tensor, floor: Tensor) -> Gaussian:
    """A Gaussian to measure distances to, of mean (N, C) and covariance (N, C, C).

    ``floor`` (N,) is the variance to be added to every direction; see :data:`FLOOR`.
    """
    # On the CPU, in float64, once: not every device has a decomposition, or that precision.
    values, vectors = torch.linalg.eigh(covariance.detach().cpu().double())
    values = values.clamp_min(0) + floor.cpu().double()[:, None]
    root = (vectors * values.sqrt().unsqueeze(-2)) @ vectors.mT
    return Gaussian(mean, root.to(covariance), _trace(covariance), floor)


def wasserstein2(mean: Tensor, covariance: Tensor, target: Gaussian) -> Tensor:
    """Squared Wasserstein-2 distance of N Gaussians to their targets.

    Args:
        mean: (N, C).
        covariance: (N, C, C), symmetric.
        target: of as many Gaussians, or of one.

    Returns:
        (N,), none negative, 0 for equal Gaussians; in the unit of the variances.
    """
    shift = (mean - target.mean).square().sum(1)
    overlap = _overlap(covariance, target)
    spread = _trace(covariance) + target.trace + 2 * covariance.shape[-1] * target.floor
    return shift + (spread - 2 * overlap).clamp_min(0)


def _overlap(covariance: Tensor, target: Gaussian) -> Tensor:
    r""":math:`\operatorname{tr}\,(S'^{1/2} S\, S'^{1/2})^{1/2}`, whose derivative by S is T / 2."""
    # On a CPU, LAPACK takes a third of the time of the matrix products, and is exact; on a GPU
    # decompositions run one after the other, and not every device has them.
    compute = decomposed_overlap if covariance.device.type == "cpu" else iterated_overlap
    with torch.no_grad():
        overlap, transport = compute(covariance, target.root, target.floor)
    return moments.with_slope(covariance, overlap, 0.5 * transport)


def decomposed_overlap(covariance: Tensor, root: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """The overlap (N,) and the map T (N, C, C), through eigenvalues in float64.

    Args:
        covariance: S without the floor, (N, C, C).
        root: of S' with the floor, (N or 1, C, C).
        floor: (N or 1,).
    """
    factor, least = root.double(), floor.double()[:, None]
    product = factor @ _raised(covariance.double(), least[:, 0]) @ factor
    # LAPACK raises on what is not finite, which would take the whole batch along.
    sound = torch.isfinite(product).flatten(1).all(1)
    finite = torch.where(sound[:, None, None], product, _identity(product))
    values, vectors = torch.linalg.eigh(finite)
    # Both covariances are at least the floor, their product is at least its square.
    singular = values.clamp_min(least.square()).sqrt()
    across = factor @ vectors
    transport = (across / singular.unsqueeze(-2)) @ across.mT
    overlap = torch.where(sound, singular.sum(1), torch.nan)
    return overlap.to(covariance.dtype), transport.to(covariance.dtype)


def iterated_overlap(covariance: Tensor, root: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    r"""The same as :func:`decomposed_overlap` from matrix products alone, stable in float32.

    :math:`S'^{1/2} S\, S'^{1/2} = X X^T` with :math:`X = S'^{1/2} S^{1/2}`.  The root's trace is the sum
    of X's singular values, :math:`\operatorname{tr} U^T X` with its polar factor U, and
    :math:`T = S'^{1/2} U S^{-1/2}`.  X has the root of the product's condition, which float32 can hold.
    """
    # Rounding of the moments must not leave a negative eigenvalue, from which the iteration explodes.
    guard = 8 * torch.finfo(covariance.dtype).eps * _trace(covariance).detach().abs()
    half, inverse = sqrt_newton_schulz(_raised(covariance, floor + guard))
    product = root @ half
    polar = polar_newton_schulz(product)
    transport = root @ polar @ inverse
    # The guard belongs to S here; its trace is taken off so that no distance falls below 0.
    overlap = (polar * product).flatten(1).sum(1) - 0.5 * covariance.shape[-1] * guard
    return overlap, 0.5 * (transport + transport.mT)


def sqrt_newton_schulz(matrices: Tensor, steps: int = ROOT_STEPS) -> tuple[Tensor, Tensor]:
    """Symmetric roots and their inverses by the coupled Newton-Schulz iteration.

    Higham, *Functions of Matrices* (2008), eq. 6.35, scaled after Chen & Chow, *A Stable Scaling of
    Newton-Schulz for Improving the Sign Function Computation of a Hermitian Matrix* (2014): the
    smallest eigenvalues grow by 2.4 squared in place of 1.5 squared in a step.

    Args:
        matrices: (N, C, C), symmetric and positive definite.
        steps: as many as by default suffice for a condition number of 1e4; the root of smaller
            eigenvalues comes out too small, never too large.
    """
    size = _norm(matrices)
    eye = _identity(matrices)
    y, z = matrices / size, eye
    for scale in _scales(_LOWEST[ROOT_STEPS], steps):
        # a (3 I - a² Z Y) / 2
        correction = torch.baddbmm(eye, z, y, beta=1.5 * scale, alpha=-0.5 * scale**3)
        y, z = y @ correction, correction @ z
    return y * size.sqrt(), z / size.sqrt()


def polar_newton_schulz(matrices: Tensor, steps: int = POLAR_STEPS) -> Tensor:
    """Orthogonal polar factors U of X = P U by the scaled Newton-Schulz iteration.

    Higham (2008), eq. 8.20: every singular value x becomes a x (3 - a² x²) / 2 and tends to 1.

    For X (N, C, C) the steps by default suffice for a condition number of 3000.
    """
    x = matrices / _norm(matrices)
    eye = _identity(matrices)
    for scale in _scales(_LOWEST[POLAR_STEPS], steps):
        x = x @ torch.baddbmm(eye, x.mT, x, beta=1.5 * scale, alpha=-0.5 * scale**3)
    return x


def _scales(lowest: float, steps: int) -> list[float]:
    """The factor a of every step for singular values between ``lowest`` and 1.

    With :math:`a^2 = 3 / (1 + l + l^2)` the ends of [l, 1] meet (Chen & Chow 2014).  For small l that
    would press the largest value down to l, and its digits with it; there a stays at 1.6.
    """
    scales = []
    for _ in range(steps):
        low = max(lowest, 0.15)
        scale = (3 / (1 + low + low * low)) ** 0.5
        scales.append(scale)
        lowest = 0.5 * scale * lowest * (3 - scale**2 * lowest**2)
    return scales


def _trace(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=-2, dim2=-1).sum(-1)


def _raised(matrices: Tensor, amount: Tensor) -> Tensor:
    """(N, C, C) plus (N,) or (1,) times the identity."""
    return matrices + amount[:, None, None] * _identity(matrices)


def _identity(like: Tensor) -> Tensor:
    """(N, C, C) identities."""
    eye = torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)
    return eye.expand_as(like)


def _norm(matrices: Tensor) -> Tensor:
    """Frobenius norms (N, 1, 1), at least the largest singular value, never 0."""
    norm: Tensor = torch.linalg.matrix_norm(matrices, keepdim=True)
    return norm.clamp_min(torch.finfo(matrices.dtype).tiny ** 0.5)
