"""The libraries of the report's page: what is on record is what is there."""

import hashlib
import io
import json
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from nstcore.errors import UserError
from nstcore.report.html_page import LIBRARY_LIST, VENDOR, library_credits
from tools import vendor_js
from tools.vendor_js import Library, libraries

FOLDER = Path(str(VENDOR))


def tarball_of(**files: str) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as package:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text.encode())
            package.addfile(entry, io.BytesIO(text.encode()))
    return held.getvalue()


@pytest.mark.parametrize("library", libraries(), ids=lambda library: library.name)
def test_a_script_is_the_one_on_record_and_asks_for_nothing(library: Library) -> None:
    script = (FOLDER / library.file).read_bytes()
    assert hashlib.sha256(script).hexdigest() == library.sha256
    assert library.tarball == (
        f"https://registry.npmjs.org/{library.name}/-/{library.name}-{library.version}.tgz"
    )
    assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", library.integrity)
    text = script.decode()
    assert library.version in text.splitlines()[0]
    assert not re.search(r"\beval\b|new Function|XMLHttpRequest|\bfetch\(|import\(|</", text)


def test_each_licence_is_there() -> None:
    shown = library_credits()
    assert len(shown) == len(libraries())
    for entry in shown:
        assert "Copyright" in entry["text"]
        assert entry["license"]


def test_nothing_else_is_there() -> None:
    named = {name for library in libraries() for name in (library.file, library.license_file)}
    found = {path.name for path in FOLDER.iterdir() if path.suffix in (".js", ".txt")}
    assert found == named
    assert (FOLDER / LIBRARY_LIST).read_text(encoding="utf-8") == vendor_js.list_text(libraries())


def test_a_refresh_takes_what_is_on_record_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tarball = tarball_of(**{"dist/d.min.js": "// d 1.0\n", "LICENSE": "Copyright D"})
    entry = Library("d", "1.0", "ISC", "u", vendor_js.integrity_of(tarball), "dist/d.min.js", "")
    monkeypatch.setattr(vendor_js, "libraries", lambda: [entry])
    monkeypatch.setattr(vendor_js, "_packed", lambda library: tarball)
    (tmp_path / "d-0.9.min.js").touch()
    vendor_js.refresh(tmp_path, update=False)
    assert {path.name for path in tmp_path.iterdir()} == {
        LIBRARY_LIST,
        entry.file,
        entry.license_file,
    }
    assert (tmp_path / entry.file).read_text() == "// d 1.0\n"
    (kept,) = json.loads((tmp_path / LIBRARY_LIST).read_text())
    assert kept["sha256"] == hashlib.sha256(b"// d 1.0\n").hexdigest()

    monkeypatch.setattr(vendor_js, "_packed", lambda library: tarball_of(LICENSE="Copyright D"))
    with pytest.raises(UserError, match=r"but vendor\.json has"):
        vendor_js.refresh(tmp_path, update=False)
    assert (tmp_path / entry.file).read_text() == "// d 1.0\n"
    with pytest.raises(UserError, match=r"no file dist/other\.js"):
        vendor_js.unpacked(replace(entry, script="dist/other.js"), tarball)


def test_without_npm_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert vendor_js.main([]) == 1
    assert "npm is not installed" in caplog.text
