"""What a shared file system shows late is waited for; what is not there is not."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nstcore.store import files
from nstcore.store.cells import Store
from nstcore.store.files import retry_io


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "RETRY_DELAYS", (0.0, 0.0, 0.0))


def failing(times: int, number: int) -> Callable[[], str]:
    """A read that fails some times before it succeeds."""
    errors = iter([OSError(number, os.strerror(number))] * times)

    def read() -> str:
        for error in errors:
            raise error
        return "read"

    return read


def test_a_stale_file_is_read_again_and_one_that_will_appear_is_awaited() -> None:
    assert retry_io(failing(3, errno.ESTALE)) == "read"
    assert retry_io(failing(3, errno.ENOENT), expected=True) == "read"


def test_it_ends_and_waits_for_nothing_else() -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
        retry_io(failing(4, errno.ESTALE))
    for number in (errno.ENOENT, errno.EACCES, errno.EIO):
        read = failing(1, number)
        with pytest.raises(OSError, match=os.strerror(number)):
            retry_io(read)
        assert read() == "read", "it was tried once"


def test_the_store_reads_through_a_stale_handle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    stored = store.put("ab" * 32, ".png", lambda path: path.write_bytes(b"picture"), {"image": {}})
    read_text = Path.read_text
    stale = iter([True, True])

    def once_stale(path: Path, encoding: str | None = None) -> str:
        if next(stale, False):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return read_text(path, encoding=encoding)

    monkeypatch.setattr(Path, "read_text", once_stale)
    found = store.find(stored.key)
    assert found is not None
    assert found.image == stored.image
    assert store.find("cd" * 32) is None
