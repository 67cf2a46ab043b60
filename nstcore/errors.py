"""Errors that a user can fix.

Each is shown as one line without a traceback: the file or key, what is wrong, and what would be
right.  Any other exception that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Preempted(Exception):
    """No error: a job has saved its state and ends early; the next attempt continues from there."""


class UserError(Exception):
    """A mistake in what the user supplied; ``str(error)`` is one readable line."""


class ConfigError(UserError):
    """The configuration is wrong.  ``problems`` holds one line for each mistake found."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def first_line(error: BaseException) -> str:
    """The first line of what an error of another library says; its name if it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


@contextmanager
def collect_problems(problems: list[str]) -> Iterator[None]:
    """Add the mistakes of a `ConfigError` to others, so that all are reported together."""
    try:
        yield
    except ConfigError as error:
        problems += error.problems


def raise_problems(problems: Iterable[str]) -> None:
    """Raise a `ConfigError` of all mistakes, each once; none if there are none."""
    if found := list(dict.fromkeys(problems)):
        raise ConfigError(found)


class ImageError(UserError):
    """An image cannot be read, is damaged, or cannot be written as asked."""


class UnusableInput(ImageError):
    """An image of the run could not be prepared: cells that need it fail, all others go on."""


class ImageTooSmall(ImageError, ValueError):
    """An image is smaller than the encoder's poolings need."""


class WeightsError(UserError):
    """An encoder's weights are missing, damaged, or belong to another network."""


class StoreError(UserError):
    """A file in the results folder or the store is damaged or does not match its record."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the closest known name, or all of them."""
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"did you mean `{close[0]}`?" if close else f"choose from: {', '.join(names) or 'none'}"
