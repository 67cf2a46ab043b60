"""Libraries of the report's page, each as its makers published it, with its licence.

``vendor.json`` says which, in the order in which they build on each other; ``python -m
nstcore.report.vendor`` takes them from the npm registry.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import resources

_FOLDER = resources.files(__name__)
LIST = "vendor.json"


@dataclass(frozen=True)
class Library:
    """A published version of a library.

    Attributes:
        name: in the npm registry.
        version: as published.
        license: its SPDX name.
        tarball: where it was taken from.
        integrity: digest of the tarball as npm writes it, ``sha512-`` and base64.
        script: path of the browser's script in the package.
        sha256: digest of that script.
    """

    name: str
    version: str
    license: str
    tarball: str
    integrity: str
    script: str
    sha256: str

    @property
    def file(self) -> str:
        """Name of the script here."""
        return f"{self.name}-{self.version}.min.js"

    @property
    def license_file(self) -> str:
        """Name of the licence's text here."""
        return f"{self.name}-{self.version}.LICENSE.txt"


def libraries() -> list[Library]:
    """All libraries, in the order in which a page loads them."""
    entries = json.loads((_FOLDER / LIST).read_text(encoding="utf-8"))
    return [Library(**entry) for entry in entries]


def list_text(found: Iterable[Library]) -> str:
    """What `LIST` holds for these libraries."""
    return json.dumps([asdict(library) for library in found], indent=2) + "\n"


def script_text() -> str:
    """The scripts of all libraries, one after the other."""
    return "\n".join((_FOLDER / lib.file).read_text(encoding="utf-8") for lib in libraries())


def credits_of_libraries() -> list[dict[str, str]]:
    """Name, version, licence and its text for each library, for the page to show."""
    return [
        {
            "name": lib.name,
            "version": lib.version,
            "license": lib.license,
            "text": (_FOLDER / lib.license_file).read_text(encoding="utf-8"),
        }
        for lib in libraries()
    ]
