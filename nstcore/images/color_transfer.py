r"""The colours of one image given to another, and luminance apart from chroma.

Gatys, Bethge, Hertzmann & Shechtman, *Preserving Color in Neural Artistic Style Transfer*, arXiv
1606.05897, below "the article": either the style image gets the content's colours before its style
is taken (section 3, colour histogram matching), or only the luminance is stylized and the content's
chroma returns at the end (section 4, luminance-only transfer).

Images are ``(H, W, 3)`` float32, sRGB values nominally in [0, 1]; what is computed of them is float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

ColorMatch = Literal["cholesky", "pca", "symmetric", "histogram"]
LuminanceSpace = Literal["yiq", "lab"]

FloatPixels = NDArray[np.float32]
Values = NDArray[np.float64]

LEAST_VARIANCE = 1e-4
"""Variance below which a colour direction of an image counts as empty: 0.01², under 3 of 255 levels.

A grey scan has some chroma too, of rounding and of JPEG; stretched to another image's chroma that
would be coloured noise."""

_BAND = 1 << 20
"""FloatPixels that are worked on at a time."""

# FCC NTSC standard (SMPTE, 1987), as in the article's luminance-only transfer and in Python's colorsys.
_YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]]
)
# sRGB to XYZ (IEC 61966-2-1), each row over the D65 white that it gives to (1, 1, 1).
_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
_XYZ /= _XYZ.sum(1, keepdims=True)
_CORNER = 6 / 29
"""Where CIE Lab's cube root becomes a straight line (CIE 15:2004, eq. 8.6)."""


# --- the colours of one image given to another -------------------------------------------------


def match_colors(image: FloatPixels, target: FloatPixels, method: ColorMatch) -> FloatPixels:
    r"""An image with another's colours.

    The linear methods map each pixel by :math:`x \mapsto A x + b`, so that mean and covariance become
    the target's (the article's eq. 1 to 3); see :func:`linear_map`.  ``histogram`` does the same with
    ``symmetric`` and then gives each of the target's principal axes the target's own distribution.
    Red, green and blue matched each for itself would tear apart what goes together in the target: a
    colourful image would keep greens and violets where the target is all brown.

    Args:
        image: ``(H, W, 3)``; where it has next to no variance in some direction, as a grey one in
            its chroma, none is made up: see ``LEAST_VARIANCE``.
        target: ``(H', W', 3)``, of any size, grey or plain too.
        method: ``cholesky``, ``pca``, ``symmetric`` or ``histogram``.

    Returns:
        ``(H, W, 3)``, not clipped: linear methods may leave [0, 1] a little.
    """
    if method == "histogram":
        return _match_along_axes(match_colors(image, target, "symmetric"), target)
    mean, covariance = color_moments(image)
    wanted_mean, wanted_covariance = color_moments(target)
    matrix = linear_map(covariance, wanted_covariance, method)
    return _in_bands(lambda band: (band - mean) @ matrix.T + wanted_mean, image)


def color_moments(image: FloatPixels) -> tuple[Values, Values]:
    """Mean (3,) and covariance (3, 3) of an image's colours, over all of its pixels."""
    flat = image.reshape(-1, 3)
    starts = range(0, len(flat), _BAND)
    mean = sum(flat[i : i + _BAND].sum(0, dtype=np.float64) for i in starts) / len(flat)
    covariance = np.zeros((3, 3))
    for i in starts:
        centered = flat[i : i + _BAND] - mean  # (M, 3) float64
        covariance += centered.T @ centered
    return np.asarray(mean), covariance / len(flat)


def linear_map(covariance: Values, wanted: Values, method: ColorMatch) -> Values:
    r"""A with :math:`A \Sigma A^T = \Sigma'`, one of many: they differ by rotations in between.

    * ``cholesky``: :math:`L' L^{-1}` of the lower triangular factors (the article's section 3); the
      result depends on the order of the channels.
    * ``pca``: :math:`\Sigma'^{1/2} \Sigma^{-1/2}` (the article's eq. 4 and 5, after Image Analogies).
    * ``symmetric``: :math:`\Sigma^{-1/2} (\Sigma^{1/2} \Sigma' \Sigma^{1/2})^{1/2} \Sigma^{-1/2}`, the
      linear map that moves colours least in the mean square (Pitié & Kokaram 2007, *The linear
      Monge-Kantorovitch linear colour mapping*).

    Args:
        covariance: Σ (3, 3) of what is mapped; variances below ``LEAST_VARIANCE`` are taken for that.
        wanted: Σ' (3, 3), perhaps singular.
        method: a linear one.
    """
    root, inverse = _roots(covariance, LEAST_VARIANCE)
    wanted_root, _ = _roots(wanted, 0.0)
    if method == "cholesky":
        return np.asarray(_triangular(wanted_root) @ np.linalg.inv(_triangular(root)))
    if method == "pca":
        return np.asarray(wanted_root @ inverse)
    if method == "symmetric":
        middle, _ = _roots(root @ wanted @ root, 0.0)
        return np.asarray(inverse @ middle @ inverse)
    raise ValueError(f"method is {method!r}, expected 'cholesky', 'pca' or 'symmetric'")


def _roots(matrix: Values, least: float) -> tuple[Values, Values]:
    """The symmetric root of a covariance whose eigenvalues are at least ``least``, and its inverse."""
    values, vectors = np.linalg.eigh(matrix)
    roots = np.sqrt(np.maximum(values, least))
    # Nothing is ever divided by the root of an empty direction: its inverse is not asked for.
    inverses = 1 / np.where(roots > 0, roots, 1.0)
    return (vectors * roots) @ vectors.T, (vectors * inverses) @ vectors.T


def _triangular(root: Values) -> Values:
    """The lower triangular L with L Lᵀ = R Rᵀ and no negative diagonal; R may be singular."""
    # Rᵀ = Q U: R Rᵀ = Uᵀ U.  numpy's own Cholesky refuses what is only semi-definite.
    upper = np.asarray(np.linalg.qr(root.T, mode="r"))
    signs = np.where(np.diagonal(upper) < 0, -1.0, 1.0)
    return np.asarray(upper.T * signs)


def _match_along_axes(image: FloatPixels, target: FloatPixels) -> FloatPixels:
    """Colours with the target's distribution along each of its principal axes."""
    axes = np.linalg.eigh(color_moments(target)[1])[1]
    along, wanted = (_in_bands(lambda band: band @ axes, p) for p in (image, target))
    matched = np.stack([_match_values(along[..., i], wanted[..., i]) for i in range(3)], axis=-1)
    return np.asarray(matched @ axes.T, dtype=np.float32)


def _match_values(values: FloatPixels, target: FloatPixels) -> Values:
    """Values with the target's distribution, in their own order; equal ones stay equal.

    A level goes to the target's quantile of the middle of its share, so that a plain image becomes
    the target's median.
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / values.size
    wanted = np.sort(target, axis=None).astype(np.float64)
    shares = (np.arange(wanted.size) + 0.5) / wanted.size
    return np.asarray(np.interp(middle, shares, wanted)[place].reshape(values.shape))


# --- luminance apart from chroma -----------------------------------------------------------------


def luminance(image: FloatPixels, space: LuminanceSpace) -> FloatPixels:
    """Luminance ``(H, W)`` in [0, 1]: Y of YIQ, or a hundredth of L* of CIE Lab."""
    if space == "yiq":
        return _in_bands(lambda band: band @ _YIQ[0], image)
    return _in_bands(lambda band: _lab(band)[..., 0] / 100, image)


def match_luminance(values: FloatPixels, target: FloatPixels) -> FloatPixels:
    r"""Luminances with another image's mean and deviation, clipped to [0, 1].

    :math:`\frac{\sigma'}{\sigma} (L - \mu) + \mu'` (the article's section 4).

    Args:
        values: ``(H, W)``; a plain image's stay equal.
        target: ``(H', W')``.
    """
    mean, deviation = values.mean(dtype=np.float64), values.std(dtype=np.float64)
    gain = target.std(dtype=np.float64) / max(float(deviation), LEAST_VARIANCE**0.5)
    matched = gain * (values.astype(np.float64) - mean) + target.mean(dtype=np.float64)
    return np.asarray(np.clip(matched, 0, 1), dtype=np.float32)


def grey(values: FloatPixels) -> FloatPixels:
    """The grey image ``(H, W, 3)`` of luminances ``(H, W)``."""
    return np.repeat(values[..., None], 3, axis=2)


def with_luminance(image: FloatPixels, values: FloatPixels, space: LuminanceSpace) -> FloatPixels:
    """An image with other luminances and its own chroma.

    Chroma that a colour of the new luminance cannot have in sRGB is lessened, at the same hue in the
    space, and no more than it has to be: clipping channels instead would change luminance and hue.

    Args:
        image: ``(H, W, 3)``.
        values: ``(H, W)``, clipped to [0, 1].
        space: in which luminance is exchanged.

    Returns:
        ``(H, W, 3)`` in [0, 1].
    """
    exchange = _exchange_y if space == "yiq" else _exchange_lightness
    return _in_bands(
        lambda band, new: np.clip(exchange(band, np.clip(new, 0, 1)), 0, 1), image, values
    )


def _exchange_y(band: Values, y: Values) -> Values:
    """Colours of luminance Y and the chroma of ``band``: a grey and a difference of Y = 0."""
    chroma = band - (band @ _YIQ[0])[..., None]
    # The room that each channel has from the grey to the end of [0, 1] in the difference's direction.
    room = np.where(chroma > 0, 1 - y[..., None], y[..., None])
    size = np.abs(chroma)
    share = np.where(size > room, room / np.where(size > 0, size, 1), 1).min(-1, keepdims=True)
    return np.asarray(y[..., None] + share * chroma)


def _exchange_lightness(band: Values, lightness: Values) -> Values:
    """Colours of L* = 100 x ``lightness`` and the a*, b* of ``band``, as far as sRGB has them."""
    lab = _lab(band)
    lab[..., 0] = 100 * lightness
    linear = _linear(lab)
    outside = ~_in_gamut(linear)
    if outside.any():
        wanted = lab[outside]
        low, high = np.zeros(len(wanted)), np.ones(len(wanted))
        for _ in range(16):  # to 1 of 65536: greys are inside, and so is all between two that are
            middle = (low + high) / 2
            inside = _in_gamut(_linear(wanted * [1, 0, 0] + middle[:, None] * wanted * [0, 1, 1]))
            low, high = np.where(inside, middle, low), np.where(inside, high, middle)
        linear[outside] = _linear(wanted * [1, 0, 0] + low[:, None] * wanted * [0, 1, 1])
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _in_gamut(linear: Values) -> NDArray[np.bool_]:
    # White itself comes out a rounding error above 1.
    return np.asarray(((linear > -1e-6) & (linear < 1 + 1e-6)).all(-1))


def _lab(rgb: Values) -> Values:
    """CIE Lab (D65) of sRGB values ``(..., 3)``."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4)
    ratios = linear @ _XYZ.T
    f = np.where(
        ratios > _CORNER**3, np.cbrt(ratios), ratios / (3 * _CORNER**2) + 4 / 29
    )  # CIE 15:2004, eq. 8.3 to 8.8
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _linear(lab: Values) -> Values:
    """Linear light in sRGB's primaries of CIE Lab colours ``(..., 3)``; outside [0, 1] out of gamut."""
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    ratios = np.where(f > _CORNER, f**3, 3 * _CORNER**2 * (f - 4 / 29))
    return np.asarray(ratios @ np.linalg.inv(_XYZ).T)


def _in_bands(function: Callable[..., Values], *images: FloatPixels) -> FloatPixels:
    """A function of float64 rows applied to images of one size, some rows at a time."""
    rows = max(1, _BAND // images[0].shape[1])
    parts = [
        function(*(p[i : i + rows].astype(np.float64) for p in images)).astype(np.float32)
        for i in range(0, len(images[0]), rows)
    ]
    return np.concatenate(parts)
