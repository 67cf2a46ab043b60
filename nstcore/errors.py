"""Errors that a user can mend.

Everything raised from here is shown as one line, without a traceback: the file or key, what is
wrong, and what would be right.  Anything else that escapes is a fault of ours and keeps its
traceback.
"""

from __future__ import annotations


class UserError(Exception):
    """A mistake in what the user gave us; ``str(error)`` is one readable line."""


class ConfigError(UserError):
    """The configuration is wrong.  ``problems`` holds one line for each mistake found."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ImageError(UserError):
    """A picture cannot be read, is damaged, or cannot be written as asked."""


class PictureTooSmall(ImageError, ValueError):
    """A picture is smaller than the encoder's poolings need."""


class WeightsError(UserError):
    """An encoder's weights cannot be had or are not what they claim to be."""


class StoreError(UserError):
    """A file in the results folder or the store does not match what its record says."""
