"""From the colours of a file to opaque sRGB."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from nstcore.errors import ImageError
from nstcore.images.image import IntegerPixels

logger = logging.getLogger(__name__)

SRGB_PROFILE = Path(__file__).with_name("srgb.icc").read_bytes()
"""The sRGB profile (ICC v4.3) in every file we write: always the same bytes, without a date of making."""

_PROFILE_SPACES = {b"GRAY": 1, b"RGB ": 3, b"CMYK": 4}
_SPACE_NAMES = {1: "gray", 3: "rgb", 4: "cmyk"}


def parse_background(background: str) -> tuple[int, int, int]:
    """The 8-bit sRGB triple of ``"#rrggbb"`` or a CSS colour name.

    Raises:
        ImageError: when it is no opaque colour.
    """
    try:
        color = ImageColor.getrgb(background)
        if len(color) == 4:
            raise ValueError("it has an alpha of its own")
    except (ValueError, AttributeError, TypeError):
        raise ImageError(
            f"background {background!r} is no plain colour; write one such as '#ffffff'"
        ) from None
    return color


def to_srgb(color: IntegerPixels, profile: bytes | None, path: Path) -> IntegerPixels:
    """Convert to sRGB, keeping the bit depth.

    A profile that is damaged, or for another kind of colour, is reported in the log and passed
    over: the values are then read as sRGB (or as plain inverse RGB, for CMYK).

    Args:
        color, profile: as in ``RawImage``.
        path: for the messages.

    Returns:
        ``(H, W, 3)``, same dtype.
    """
    converted = None
    if profile and profile != SRGB_PROFILE:
        converted = _apply_profile(color, profile, path)
    return _without_profile(color) if converted is None else converted


def _apply_profile(color: IntegerPixels, profile: bytes, path: Path) -> IntegerPixels | None:
    channels = color.shape[2]
    wanted = _PROFILE_SPACES.get(profile[16:20])
    if channels == 1 and wanted == 3:  # common: a grey scan tagged with its scanner's RGB profile
        color, channels = _without_profile(color), 3
    if profile[36:40] != b"acsp":
        logger.warning("%s: its colour profile is damaged; reading it as sRGB", path)
        return None
    if wanted != channels:
        logger.warning(
            "%s: its colour profile is for %r but its pixels are %s; reading it as sRGB",
            path,
            profile[16:20].decode("latin-1").strip(),
            _SPACE_NAMES[channels].upper(),
        )
        return None
    try:
        if wanted == 3 and _is_srgb(profile):
            return color
        return _transform(color, profile)
    except (imagecodecs.CmsError, ValueError, RuntimeError) as error:
        logger.warning("%s: its colour profile is damaged (%s); reading it as sRGB", path, error)
        return None


def _transform(color: IntegerPixels, profile: bytes) -> IntegerPixels:
    """Through littleCMS, relative colorimetric with black point compensation."""
    flags = int(imagecodecs.CMS.FLAGS.BLACKPOINTCOMPENSATION)
    channels = color.shape[2]
    if channels == 1 or color.dtype == np.uint16:
        # Optimized, littleCMS resamples a matrix profile to a 33³ table: off by up to 5000 of
        # 65535 in dark, saturated Adobe RGB.  Evaluated as written it stays within 30.
        flags |= imagecodecs.CMS.FLAGS.NOOPTIMIZE
    if channels == 1:  # convert each grey level once
        source = np.arange(np.iinfo(color.dtype).max + 1).astype(color.dtype)[None]
    else:
        source = np.ascontiguousarray(color)
    converted = imagecodecs.cms_transform(
        source,
        profile,
        SRGB_PROFILE,
        colorspace=_SPACE_NAMES[channels],
        outcolorspace="rgb",
        outdtype=color.dtype,
        intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
        flags=flags,
    )
    return cast(IntegerPixels, converted[0][color[:, :, 0]] if channels == 1 else converted)


def _is_srgb(profile: bytes) -> bool:
    """Whether the profile moves every colour by less than one step of 8 bits.

    Most files carry one of many spellings of sRGB; converting would only change the last bit.
    """
    levels = np.linspace(0, 65535, 17).round().astype(np.uint16)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 17, 3)
    moved = _transform(cube, profile).astype(np.int32) - cube.astype(np.int32)
    return bool(np.abs(moved).max() < 257)


def _without_profile(color: IntegerPixels) -> IntegerPixels:
    if color.shape[2] == 3:
        return color
    if color.shape[2] == 1:
        return cast(IntegerPixels, np.repeat(color, 3, axis=2))
    # Each ink darkens what black leaves: (1 - C)(1 - K).
    full_scale = np.iinfo(color.dtype).max
    paper = (full_scale - color).astype(np.uint32)
    rgb = (paper[:, :, :3] * paper[:, :, 3:] + full_scale // 2) // full_scale
    return cast(IntegerPixels, rgb.astype(color.dtype))


def flatten(
    rgb: IntegerPixels, alpha: IntegerPixels, background: tuple[int, int, int]
) -> IntegerPixels:
    """Lay ``rgb`` over a plain background: ``alpha·rgb + (1 - alpha)·background``.

    The mixture is made of sRGB values, as browsers and image editors do.

    Args:
        rgb: ``(H, W, 3)``, not multiplied by alpha.
        alpha: ``(H, W)`` of the same dtype.
        background: 8-bit sRGB.
    """
    full_scale = int(np.iinfo(rgb.dtype).max)
    behind = np.array(background, dtype=np.uint32) * np.uint32(full_scale // 255)
    cover = alpha[:, :, None].astype(np.uint32)
    # 65535 · 65535 + 32767 still fits into 32 bits.
    mixed = rgb * cover
    mixed += behind * (np.uint32(full_scale) - cover)
    mixed += np.uint32(full_scale // 2)
    mixed //= np.uint32(full_scale)
    return cast(IntegerPixels, mixed.astype(rgb.dtype))


def unmultiply(rgb: IntegerPixels, alpha: IntegerPixels) -> IntegerPixels:
    """Divide colours by the alpha that they were multiplied with (TIFF's "associated" alpha)."""
    full_scale = int(np.iinfo(rgb.dtype).max)
    cover = np.maximum(alpha, 1)[:, :, None].astype(np.uint32)
    plain = (rgb.astype(np.uint32) * np.uint32(full_scale) + cover // 2) // cover
    return cast(IntegerPixels, np.minimum(plain, full_scale).astype(rgb.dtype))


_TRANSPOSES: dict[int, Any] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo an EXIF orientation (TIFF 6.0, tag 274); unknown values leave the image as it is."""
    return _TRANSPOSES[orientation](pixels) if orientation in _TRANSPOSES else pixels
