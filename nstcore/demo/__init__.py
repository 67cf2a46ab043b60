"""Pictures that anyone may have: photographs from scikit-image, styles painted by this package."""

from __future__ import annotations

from pathlib import Path

from nstcore.demo.guides import GUIDES, write_guides
from nstcore.demo.photos import PHOTOS, write_photos
from nstcore.store.files import write_text

__all__ = ["GUIDES", "PHOTOS", "credits_text", "write_demo", "write_guides", "write_photos"]


def write_demo(directory: Path | str) -> list[Path]:
    """Write the demo's pictures below ``directory``; what exists is left as it is.

    ``contents/`` takes the photographs, ``styles/`` the painted styles, ``guides/`` regions of some
    of both, ``README.md`` says where each comes from.  Painting all styles takes about half a minute;
    a checkout has them already.

    Returns:
        All the files of the demo, whether written now or found.

    Raises:
        UserError: a photograph cannot be had.
    """
    from nstcore.demo.paint import write_styles  # the painters import half of scipy

    directory = Path(directory)
    files = list(write_photos(directory / "contents", replace=False).values())
    files += write_styles(directory / "styles", replace=False).values()
    files += write_guides(directory / "guides", replace=False).values()
    readme = directory / "README.md"
    if not readme.exists():
        write_text(readme, credits_text())
    return [*files, readme]


def credits_text() -> str:
    """Where every picture of the demo comes from and under which licence, in Markdown."""
    from nstcore.demo.paint import STYLES

    photos = [
        f"| `contents/{name}{Path(photo.file).suffix}` | {photo.about} | {photo.licence} |"
        for name, photo in PHOTOS.items()
    ]
    styles = [f"| `styles/{name}.jpg` | {style.about} | MIT |" for name, style in STYLES.items()]
    guides = [f"| `guides/{name}.png` | {guide.about} | MIT |" for name, guide in GUIDES.items()]
    return "\n".join(
        [
            "# The demo's pictures",
            "",
            "`nst demo` writes what is missing here; nothing is downloaded.",
            "",
            "## Contents",
            "",
            "Photographs from the data folder of [scikit-image](https://scikit-image.org), copied",
            "out of the installed package. Sources and licences are those that scikit-image's",
            "documentation of `skimage.data` gives.",
            "",
            "| file | picture | licence |",
            "|---|---|---|",
            *photos,
            "",
            "## Styles",
            "",
            "Painted by the programs in `nstcore/demo`, each from a fixed seed. They belong to",
            "this project and come under its licence (MIT, see `LICENSE`).",
            "",
            "| file | picture | licence |",
            "|---|---|---|",
            *styles,
            "",
            "## Guides",
            "",
            "Regions of pictures of the same name, drawn by `nstcore/demo/guides.py`.",
            "",
            "| file | regions | licence |",
            "|---|---|---|",
            *guides,
            "",
        ]
    )
