"""The demo's photographs: free pictures that come inside scikit-image's wheel."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from nstcore.demo.writing import write_files
from nstcore.errors import UserError

__all__ = ["PHOTOS", "Photo", "write_photos"]


@dataclass(frozen=True)
class Photo:
    """One photograph, as scikit-image's documentation of its data describes it.

    Attributes:
        file: name within ``skimage/data``.
        size: (width, height) in pixels.
        about: what it shows and who took it.
        licence: the terms it comes under.
    """

    file: str
    size: tuple[int, int]
    about: str
    licence: str


PHOTOS: dict[str, Photo] = {
    "cat": Photo(
        "chelsea.png", (451, 300), "Chelsea the cat, photographed by Stefan van der Walt", "CC0"
    ),
    "coffee": Photo(
        "coffee.png",
        (600, 400),
        "A cup of coffee, photographed by Rachel Michetti, courtesy of Pikolo Espresso Bar",
        "CC0",
    ),
    "astronaut": Photo(
        "astronaut.png",
        (512, 512),
        "The astronaut Eileen Collins, NASA Great Images, https://flic.kr/p/r9qvLn",
        "public domain, no known copyright restrictions",
    ),
    "rocket": Photo(
        "rocket.jpg",
        (640, 427),
        "Launch of DSCOVR on a Falcon 9, SpaceX, "
        "https://www.flickr.com/photos/spacexphotos/16511594820",
        "public domain",
    ),
}
"""Every photograph of the demo by its id."""


def write_photos(directory: Path | str, *, replace: bool = True) -> dict[str, Path]:
    """Copy the photographs out of the installed scikit-image, nothing is downloaded.

    Args:
        directory: made when it is missing.
        replace: write anew what exists already.

    Returns:
        The file of each photograph's id: ``<id>`` with the suffix it has in scikit-image.

    Raises:
        UserError: scikit-image is not installed, or its wheel lacks a photograph.
    """
    files = {name: name + Path(photo.file).suffix for name, photo in PHOTOS.items()}
    return write_files(directory, files, lambda name: _read(PHOTOS[name].file), replace=replace)


def _read(file: str) -> bytes:
    """Content of a file of ``skimage/data``; scikit-image itself is not imported."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "scikit-image: the demo's photographs come with it, but it is not installed; "
            "install it with 'pip install scikit-image'"
        )
    path = Path(spec.submodule_search_locations[0]) / "data" / file
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"{path}: the demo's photograph is missing from the installed scikit-image; "
            "install version 0.24 or later from PyPI, or name pictures of your own in the config"
        ) from None
