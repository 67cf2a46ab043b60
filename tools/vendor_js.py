"""Download the report's libraries from the npm registry: ``python -m tools.vendor_js [--update]``.

Needs ``npm``.  Without ``--update`` the versions stay, and the packages must have the digests in
``vendor.json``; with it every library goes to its newest version, and ``vendor.json`` is rewritten.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import logging
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nstcore.errors import UserError
from nstcore.report.html_page import LIBRARY_LIST, VENDOR
from nstcore.store.files import write_text

log = logging.getLogger(__name__)

LICENSE = "LICENSE"
"""Path of the licence's text in a package."""


@dataclass(frozen=True)
class Library:
    """A published version of a library in the npm registry.

    Attributes:
        license: its SPDX name.
        tarball: URL that it was downloaded from.
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
        """File name of the script in ``vendor/``."""
        return f"{self.name}-{self.version}.min.js"

    @property
    def license_file(self) -> str:
        """File name of the licence's text in ``vendor/``."""
        return f"{self.name}-{self.version}.LICENSE.txt"


def libraries() -> list[Library]:
    """All libraries, in the order in which a page loads them."""
    listed = (VENDOR / LIBRARY_LIST).read_text(encoding="utf-8")
    return [Library(**entry) for entry in json.loads(listed)]


def list_text(found: Iterable[Library]) -> str:
    """The text of ``vendor.json`` for these libraries."""
    return json.dumps([asdict(library) for library in found], indent=2) + "\n"


def integrity_of(tarball: bytes) -> str:
    """A tarball's digest as npm writes it."""
    return "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()


def checked(library: Library, tarball: bytes) -> bytes:
    """The tarball, if it has the digest in ``vendor.json``.

    Raises:
        UserError: if it has another.
    """
    found = integrity_of(tarball)
    if found != library.integrity:
        raise UserError(
            f"{library.tarball}: has the digest {found}, but {LIBRARY_LIST} has {library.integrity}; "
            "use --update for a new version"
        )
    return tarball


def unpacked(library: Library, tarball: bytes) -> tuple[str, str]:
    """The script and the licence in a package.

    Raises:
        UserError: if one of them is missing.
    """
    with tarfile.open(fileobj=io.BytesIO(tarball), mode="r:gz") as package:
        texts = []
        for name in (library.script, LICENSE):
            try:
                member = package.extractfile(f"package/{name}")
            except KeyError:
                member = None
            if member is None:
                raise UserError(f"{library.tarball}: contains no file {name}")
            texts.append(member.read().decode("utf-8"))
    return texts[0], texts[1]


def refresh(folder: Path, *, update: bool) -> None:
    """Write the scripts and licences of all libraries, and their list, into a folder.

    Args:
        folder: the report's ``vendor/``.
        update: whether to go to the newest versions.

    Raises:
        UserError: npm is missing or fails, or a package is not the one in ``vendor.json``.
    """
    kept = {LIBRARY_LIST}
    found = []
    for library in libraries():
        if update:
            library = _newest(library)
        script, license_text = unpacked(library, checked(library, _packed(library)))
        library = replace(library, sha256=hashlib.sha256(script.encode()).hexdigest())
        write_text(folder / library.file, script)
        write_text(folder / library.license_file, license_text)
        kept |= {library.file, library.license_file}
        found.append(library)
        log.info("%s %s", library.name, library.version)
    write_text(folder / LIBRARY_LIST, list_text(found))
    for pattern in ("*.min.js", "*.LICENSE.txt"):
        for path in folder.glob(pattern):
            if path.name not in kept:
                path.unlink()


def _newest(library: Library) -> Library:
    """What the registry says of a library's newest version."""
    answer = json.loads(_npm("view", library.name, "version", "license", "dist", "--json"))
    return replace(
        library,
        version=answer["version"],
        license=answer["license"],
        tarball=answer["dist"]["tarball"],
        integrity=answer["dist"]["integrity"],
    )


def _packed(library: Library) -> bytes:
    """A library's tarball from the registry."""
    with tempfile.TemporaryDirectory() as folder:
        _npm("pack", f"{library.name}@{library.version}", "--pack-destination", folder)
        (tarball,) = Path(folder).iterdir()
        return tarball.read_bytes()


def _npm(*arguments: str) -> str:
    try:
        done = subprocess.run(["npm", *arguments], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise UserError("npm is not installed; it comes with Node.js") from None
    except subprocess.CalledProcessError as error:
        raise UserError(f"npm {' '.join(arguments)} failed: {error.stderr.strip()}") from None
    return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 if all went well."""
    parser = argparse.ArgumentParser(prog="python -m tools.vendor_js", description=__doc__)
    parser.add_argument("--update", action="store_true", help="go to the newest versions")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        refresh(Path(str(VENDOR)), update=options.update)
    except UserError as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
