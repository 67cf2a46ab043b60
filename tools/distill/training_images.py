"""Images to learn from: photographs, painterly photographs and procedural images.

Everything is drawn from a numpy generator, so that a step of the training is a pure function of
(seed, step) and the same images come back after a resume.  Arrays are (H, W, 3) uint8, sRGB.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from nstcore.errors import ImageError

Pixels = NDArray[np.uint8]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})

_CACHE_BYTES = (
    3 * 2**30
)  # decoded photographs kept in memory; a thousand of 256 x 340 px take 0.26 GB
_HELD_OUT = 0.06  # share of the photographs never trained on


class Photos:
    """A folder of photographs, split into those to train on and those held out.

    Args:
        folder: searched recursively for images.
        seed: decides which photographs are held out.

    Raises:
        ImageError: if there are fewer than 20 images.
    """

    def __init__(self, folder: Path | str, seed: int = 0) -> None:
        self.folder = Path(folder)
        paths = sorted(
            path
            for path in self.folder.rglob("*")
            if path.suffix.lower() in SUFFIXES and path.is_file()
        )
        if len(paths) < 20:
            raise ImageError(f"{self.folder}: {len(paths)} photographs; at least 20 are needed")
        order = np.random.default_rng(seed).permutation(len(paths))
        shuffled = [paths[i] for i in order]
        count = max(4, round(_HELD_OUT * len(paths)))
        self.held_out: list[Path] = shuffled[:count]
        self.training: list[Path] = shuffled[count:]
        self._cache: dict[Path, Pixels] = {}
        self._cached_bytes = 0

    def read(self, path: Path) -> Pixels:
        """The decoded photograph (H, W, 3) uint8."""
        pixels = self._cache.get(path)
        if pixels is None:
            try:
                with Image.open(path) as image:
                    pixels = np.asarray(image.convert("RGB"))
            except OSError as error:
                raise ImageError(f"{path}: cannot be read as an image ({error})") from error
            if self._cached_bytes + pixels.nbytes <= _CACHE_BYTES:
                self._cache[path] = pixels
                self._cached_bytes += pixels.nbytes
        return pixels

    def crop(self, generator: np.random.Generator, size: int, *, held_out: bool = False) -> Pixels:
        """A random square of a random photograph at a random scale, perhaps mirrored."""
        paths = self.held_out if held_out else self.training
        return random_crop(self.read(paths[generator.integers(len(paths))]), generator, size)


def random_crop(pixels: Pixels, generator: np.random.Generator, size: int) -> Pixels:
    """A square of side ``size`` from ``pixels``, enlarged up to 1.3 or reduced up to 2.5 times."""
    height, width = pixels.shape[:2]
    side = min(float(size * 2 ** generator.uniform(-0.4, 1.3)), height, width)
    left = generator.uniform(0, width - side)
    top = generator.uniform(0, height - side)
    image = Image.fromarray(pixels).resize(
        (size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
    )
    if generator.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(image)


def painterly(pixels: Pixels, generator: np.random.Generator) -> Pixels:
    """Flat patches with sharp borders in place of photographic texture."""
    image = Image.fromarray(pixels)
    if generator.random() < 0.5:
        image = image.filter(ImageFilter.MedianFilter(int(generator.choice([3, 5, 7]))))
        image = image.filter(ImageFilter.UnsharpMask(2, int(generator.integers(50, 250)), 0))
    else:
        image = image.quantize(int(generator.integers(4, 24))).convert("RGB")
        image = image.filter(ImageFilter.ModeFilter(int(generator.choice([3, 5]))))
    return np.asarray(image)


def procedural(generator: np.random.Generator, size: int) -> Pixels:
    """An image that no camera took: coloured noise, marble, cells, waves or brush strokes."""
    kinds = (_spectral_noise, _marble, _cells, _waves, _strokes, _strokes)
    return kinds[generator.integers(len(kinds))](generator, size)


def _palette(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    """``count`` colours (count, 3) around a few random hues."""
    anchors = generator.random((max(2, count // 3), 3))
    colours = anchors[generator.integers(len(anchors), size=count)]
    return np.clip(colours + generator.normal(0, 0.15, (count, 3)), 0, 1)


def _field(
    generator: np.random.Generator, size: int, slope: float, count: int
) -> NDArray[np.float64]:
    """Gaussian fields (count, size, size), amplitude spectrum 1 / f**slope, unit variance."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(generator.normal(size=(count, size, size))) / frequency**slope
    fields = np.fft.irfft2(spectrum, s=(size, size))
    scaled: NDArray[np.float64] = fields / (fields.std(axis=(1, 2), keepdims=True) + 1e-9)
    return scaled


def _to_pixels(values: NDArray[np.float64]) -> Pixels:
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)


def _spectral_noise(generator: np.random.Generator, size: int) -> Pixels:
    fields = _field(generator, size, float(generator.uniform(0, 2)), 3)
    mixing = generator.normal(0, 0.6, (3, 3)) + np.eye(3) * generator.uniform(0, 1)
    values = np.einsum("cd,dhw->hwc", mixing, fields) * generator.uniform(0.05, 0.3)
    return _to_pixels(values + generator.uniform(0.2, 0.8, 3))


def _marble(generator: np.random.Generator, size: int) -> Pixels:
    field = _field(generator, size, float(generator.uniform(1.2, 2.2)), 1)[0]
    colours = _palette(generator, int(generator.integers(4, 24)))
    position = (np.sin(field * generator.uniform(1, 8)) * 0.5 + 0.5) * (len(colours) - 1)
    lower = position.astype(int).clip(0, len(colours) - 2)
    share = (position - lower)[..., None]
    if generator.random() < 0.3:
        share = (share > 0.5).astype(float)
    return _to_pixels(colours[lower] * (1 - share) + colours[lower + 1] * share)


def _cells(generator: np.random.Generator, size: int) -> Pixels:
    count = int(generator.integers(10, 120))
    points = generator.random((count, 2)) * size
    colours = _palette(generator, count)
    warp = _field(generator, size, 2.0, 2) * generator.uniform(0, size / 16)
    grid = np.asarray(np.mgrid[:size, :size], np.float64) + warp
    distance = ((grid[:, None] - points.T[:, :, None, None]) ** 2).sum(
        axis=0
    )  # (count, size, size)
    values = colours[distance.argmin(axis=0)]
    if generator.random() < 0.4:
        first, second = np.partition(np.sqrt(distance), 1, axis=0)[:2]
        values = np.where(
            (second - first < generator.uniform(1, 4))[..., None], colours[0] * 0.3, values
        )
    return _to_pixels(values)


def _waves(generator: np.random.Generator, size: int) -> Pixels:
    rows, columns = np.mgrid[:size, :size] / size
    warp = _field(generator, size, 2.0, 1)[0] * generator.uniform(0, 0.15)
    colours = _palette(generator, 3)
    values = np.zeros((size, size, 3)) + colours[0]
    for colour in colours[1:]:
        angle = generator.uniform(0, np.pi)
        frequency = size / 2 ** generator.uniform(1, 6)
        phase = 2 * np.pi * frequency * (np.cos(angle) * rows + np.sin(angle) * columns + warp)
        wave = np.sin(phase)[..., None] * 0.5 + 0.5
        if generator.random() < 0.4:
            wave = (wave > 0.5).astype(float)
        values = values * (1 - wave) + colour * wave
    return _to_pixels(values)


def _strokes(generator: np.random.Generator, size: int) -> Pixels:
    """Brush strokes that follow a smooth flow, painted at twice the size and reduced."""
    canvas = 2 * size
    colours = (_palette(generator, 24) * 255).astype(int)
    tone = _field(generator, size, 1.8, 1)[0]
    flow = _field(generator, size, 2.0, 1)[0] * generator.uniform(0.5, 2.5)
    image = Image.new("RGB", (canvas, canvas), tuple(colours[0]))
    draw = ImageDraw.Draw(image)
    length = generator.uniform(6, 40)
    thickness = max(1, int(length / generator.uniform(2.5, 8)))
    count = min(4000, int(1.5 * canvas**2 / (length * thickness)))
    rank = np.clip((tone * 5 + 12), 0, 23)
    for x, y, jitter in zip(
        generator.random(count),
        generator.random(count),
        generator.normal(0, 1.5, count),
        strict=True,
    ):
        row, column = int(y * size), int(x * size)
        angle = flow[row, column]
        colour = tuple(int(c) for c in colours[int(np.clip(rank[row, column] + jitter, 0, 23))])
        dx, dy = np.cos(angle) * length, np.sin(angle) * length
        centre_x, centre_y = x * canvas, y * canvas
        draw.line(
            (centre_x - dx, centre_y - dy, centre_x + dx, centre_y + dy),
            fill=colour,
            width=thickness,
        )
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


def draw_image(photos: Photos, generator: np.random.Generator, size: int) -> Pixels:
    """One training image: mostly a photograph, sometimes painterly or procedural."""
    kind = generator.random()
    if kind < 0.65:
        return photos.crop(generator, size)
    if kind < 0.80:
        return painterly(photos.crop(generator, size), generator)
    return procedural(generator, size)


class Pool:
    """Images kept on a GPU, from which a batch is cut in no time.

    Drawing and decoding on the CPU would keep a GPU waiting for most of the training.

    Args:
        photos: see :func:`draw_image`.
        seed: of the images.
        count: how many; each takes ``3 * side ** 2`` bytes.
        side: of the images in pixels.
        device: where they stay.
        threads: how many draw at the same time.
    """

    def __init__(
        self,
        photos: Photos,
        seed: int,
        count: int,
        side: int,
        device: torch.device,
        threads: int = 12,
    ) -> None:
        def draw(index: int) -> Pixels:
            return draw_image(photos, np.random.default_rng((seed, 5, index)), side)

        self.side = side
        with ThreadPoolExecutor(threads) as workers:
            stacked = np.stack(list(workers.map(draw, range(count))))
        self._images = torch.from_numpy(stacked).permute(0, 3, 1, 2).to(device)

    def draw(self, generator: np.random.Generator, count: int, size: int) -> Tensor:
        """Crops (count, 3, size, size) in [0, 1], perhaps mirrored, some of them at half the scale."""
        crops = []
        for _ in range(count):
            image = self._images[int(generator.integers(len(self._images)))]
            if 2 * size <= self.side and generator.random() < 0.5:
                half = self.side // 2
                cells = image[:, : 2 * half, : 2 * half].reshape(3, half, 2, half, 2)
                image = cells.float().mean((2, 4))
            top, left = generator.integers(image.shape[-1] - size + 1, size=2)
            crop = image[:, top : top + size, left : left + size]
            crops.append((crop.flip(-1) if generator.random() < 0.5 else crop).float())
        return torch.stack(crops).div(255).contiguous(memory_format=torch.channels_last)


def draw_style(photos: Photos, generator: np.random.Generator, size: int) -> Pixels:
    """One style image for the student's own stylizations."""
    kind = generator.random()
    if kind < 0.25:
        return photos.crop(generator, size)
    if kind < 0.5:
        return painterly(photos.crop(generator, size), generator)
    return procedural(generator, size)


def to_tensor(images: list[Pixels]) -> Tensor:
    """Stack (H, W, 3) uint8 into (N, 3, H, W) float32 in [0, 1], channels last in memory."""
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return stacked.to(torch.float32).div(255).contiguous(memory_format=torch.channels_last)
