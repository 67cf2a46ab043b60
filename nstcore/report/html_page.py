"""HTML pages that open from the disk, with the network off.

A page is one file with its style, program and data inside, and with its images where they are small.
By a content security policy it forbids itself everything but its own style, its own program and the
files beside it, so that no text in a run can ever become a program.

The libraries in ``vendor/`` are what their makers published, each with its licence; ``vendor.json``
lists them in the order in which they build on each other, and ``python -m tools.vendor_js`` downloads
them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

import jinja2
from markupsafe import Markup

log = logging.getLogger(__name__)

TEMPLATES = resources.files("nstcore.report") / "templates"
"""What all pages share, and the report's own."""

VENDOR = resources.files("nstcore.report") / "vendor"
LIBRARY_LIST = "vendor.json"

SingleFile = bool | Literal["auto"]

EMBED_LIMIT = 8_000_000
"""Most bytes that a page embeds of its own accord.  Base64 makes 4/3 of them, and many mail servers
refuse more than some 10 MB."""

VIEWABLE = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
"""The suffixes of the formats that every browser shows, with their MIME subtypes."""


def render_html(
    template: str,
    *,
    styles: Sequence[str],
    scripts: Sequence[str],
    data: Any,
    libraries: str = "",
    folders: Sequence[Traversable] = (TEMPLATES,),
    **values: Any,
) -> str:
    """Render a page from its template.

    Args:
        template, styles, scripts: file names; styles in an order in which the last wins, scripts in one
            in which they build on each other.
        libraries: programs of others, which run before the page's own.
        data: what the program reads from the element ``data``.
        folders: where all these files are looked for, in this order.
        values: what else the template shows, as text.

    Raises:
        ValueError: if the data hold NaN or infinity, which JSON lacks.
    """

    def read(name: str) -> str:
        file = next(file for folder in folders if (file := folder / name).is_file())
        return file.read_text(encoding="utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = "\n".join(map(read, styles))
    own = "(() => {\n'use strict';\n" + "\n".join(map(read, scripts)) + "\n})();\n"
    program = f"{libraries}\n{own}"  # strict mode is for the own part only
    return environment.get_template(template).render(
        **values,
        style=Markup(style),
        program=Markup(program),
        style_digest=_csp_digest(style),
        program_digest=_csp_digest(program),
        data=Markup(escaped_json(data)),
    )


def escaped_json(value: Any) -> str:
    """JSON that is safe anywhere within HTML and scripts: no ``<``, ``>``, ``&``, ASCII only.

    Raises:
        ValueError: for NaN or infinity.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _csp_digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# --- Images inside the page ---


def embed_images(
    wanted: SingleFile, text_bytes: int, thumbnails: Mapping[str, Path], images: Mapping[str, Path]
) -> dict[str, str] | None:
    """The images that a page holds itself: all, or the thumbnails only, or none.

    Nobody would understand a page of which some images open and others do not.

    Args:
        wanted: whether to embed everything; ``auto`` embeds what is small enough.
        text_bytes: size of curves and records, which are embedded with the images.
        thumbnails, images: name -> file of the small and of the full images.

    Returns:
        Name -> ``data:`` URI; None for a page that holds nothing.
    """
    if wanted is False:
        return None
    everything = {**thumbnails, **images}
    if wanted is True or text_bytes + _total_size(everything) <= EMBED_LIMIT:
        chosen: Mapping[str, Path] = everything
    elif text_bytes + _total_size(thumbnails) <= EMBED_LIMIT:
        chosen = thumbnails
    else:
        return None
    uris = {name: data_uri(path) for name, path in chosen.items()}
    return {name: uri for name, uri in uris.items() if uri is not None}


def data_uri(path: Path) -> str | None:
    """An image as a ``data:`` URI; None if browsers cannot show its format or it cannot be read."""
    subtype = VIEWABLE.get(path.suffix.lower())
    if subtype is None:
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        log.warning("report: %s", error)
        return None
    return f"data:image/{subtype};base64,{base64.b64encode(data).decode('ascii')}"


def _total_size(files: Mapping[str, Path]) -> int:
    return sum(path.stat().st_size for path in files.values() if path.is_file())


# --- Libraries of others ---


def library_scripts() -> str:
    """The scripts of all libraries, one after the other, in the order in which a page loads them."""
    return "\n".join(_vendored(library, "min.js") for library in _libraries())


def library_credits() -> list[dict[str, str]]:
    """Name, version, licence and its text of each library, for the page to show."""
    return [
        {name: library[name] for name in ("name", "version", "license")}
        | {"text": _vendored(library, "LICENSE.txt")}
        for library in _libraries()
    ]


def _libraries() -> list[dict[str, str]]:
    listed: list[dict[str, str]] = json.loads((VENDOR / LIBRARY_LIST).read_text(encoding="utf-8"))
    return listed


def _vendored(library: Mapping[str, str], suffix: str) -> str:
    file = VENDOR / f"{library['name']}-{library['version']}.{suffix}"
    return file.read_text(encoding="utf-8")
