"""Take the report's libraries from the npm registry: ``python -m nstcore.report.vendor [--update]``.

Needs ``npm``.  Without ``--update`` the versions stay and the packages must be those whose digests
are on record; with it each goes to the newest version, and ``vendor.json`` is written anew.
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
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nstcore.errors import UserError
from nstcore.report.vendor import LIST, Library, libraries, list_text
from nstcore.store.files import write_text

log = logging.getLogger(__name__)

LICENSE = "LICENSE"
"""Path of the licence's text in a package."""


def integrity_of(tarball: bytes) -> str:
    """A tarball's digest as npm writes it."""
    return "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()


def checked(library: Library, tarball: bytes) -> bytes:
    """The tarball, if it is the one on record.

    Raises:
        UserError: if it is another.
    """
    found = integrity_of(tarball)
    if found != library.integrity:
        raise UserError(
            f"{library.tarball}: is not what {LIST} has on record: {found} and not "
            f"{library.integrity}; if a new version is wanted, say --update"
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
                raise UserError(f"{library.tarball}: there is no file {name} in it")
            texts.append(member.read().decode("utf-8"))
    return texts[0], texts[1]


def refresh(folder: Path, *, update: bool) -> None:
    """Write the scripts and licences of all libraries, and the list of them, into a folder.

    Args:
        folder: this package's own.
        update: go to the newest versions.

    Raises:
        UserError: npm is not there, does not answer, or gives another package than the one on record.
    """
    kept = {LIST}
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
    write_text(folder / LIST, list_text(found))
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
    """A library's tarball as the registry has it."""
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
    parser = argparse.ArgumentParser(prog="python -m nstcore.report.vendor", description=__doc__)
    parser.add_argument("--update", action="store_true", help="go to the newest versions")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        refresh(Path(__file__).parent, update=options.update)
    except UserError as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
