"""The demo's images: photographs from scikit-image, styles and guides from nstcore."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from nstcore.errors import UserError
from nstcore.store.files import write_bytes

__all__ = ["PHOTOS", "packaged_demo", "write_demo"]

PHOTOS = {
    "cat": "chelsea.png",
    "coffee": "coffee.png",
    "astronaut": "astronaut.png",
    "rocket": "rocket.jpg",
}
"""The photographs: id -> file in scikit-image's folder ``data``. ``README.md`` credits them."""


def write_demo(directory: Path | str) -> list[Path]:
    """Write the demo's images below ``directory``; existing files are kept.

    ``contents/`` gets the photographs, ``styles/`` the styles, ``guides/`` regions of some of both, and
    ``README.md`` says where each image comes from and under which licence. Nothing is downloaded.

    Returns:
        All files of the demo, written now or before.

    Raises:
        UserError: scikit-image or one of its photographs is missing.
    """
    directory, data, packaged = Path(directory), _photo_folder(), packaged_demo()
    sources = {
        directory / "contents" / f"{name}{Path(file).suffix}": data / file
        for name, file in PHOTOS.items()
    }
    for pattern in ("styles/*.jpg", "guides/*.png", "README.md"):
        for source in sorted(packaged.glob(pattern)):
            sources[directory / source.relative_to(packaged)] = source
    for path, source in sources.items():
        if not path.exists():
            try:
                write_bytes(path, source.read_bytes())
            except FileNotFoundError:
                raise UserError(
                    f"{source}: the demo's photograph is missing from the installed scikit-image; "
                    "install version 0.24 or later from PyPI, or name images of your own"
                ) from None
    return list(sources)


def packaged_demo() -> Path:
    """The folder of the demo's own files: in the installed package, or in a checkout."""
    package = Path(__file__).parent
    installed = package / "_workflow"
    return (installed if installed.is_dir() else package.parent) / "config" / "demo"


def _photo_folder() -> Path:
    """``skimage/data``, found without importing scikit-image."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "scikit-image: the demo's photographs come with it, but it is not installed; "
            "install it with 'pip install scikit-image'"
        )
    return Path(spec.submodule_search_locations[0]) / "data"
