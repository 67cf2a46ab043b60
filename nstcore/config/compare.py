"""Which other runs a run is compared with when it is finished."""

from __future__ import annotations

import difflib

from pydantic import Field, field_validator

from nstcore.config.given import Folder, Strict
from nstcore.config.limits import read_limit
from nstcore.config.settings import Settings

SEED = "seed"
"""What may be left out of a cell's identity besides settings."""


class Compare(Strict):
    """A comparison of the finished run with others."""

    runs: list[Folder] = Field(
        min_length=1,
        description="Names of runs in the same `results`, or paths of their folders. The first is the "
        "baseline, which all others and this run are compared with.",
    )
    ignore: list[str] = Field(
        [],
        description="Settings, or `seed`, that may differ between two cells that are compared. What has "
        "one value throughout a run and another throughout the other is left out by itself.",
    )
    fail_if: list[str] = Field(
        [],
        description='Limits such as `"style_loss > +5%"`: if this run exceeds one against the baseline, '
        "it ends with an error after everything else is done.",
    )

    @field_validator("ignore")
    @classmethod
    def _settings(cls, value: list[str]) -> list[str]:
        known = [*Settings.model_fields, SEED]
        for name in value:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                meant = f"; did you mean `{close[0]}`?" if close else ""
                raise ValueError(f"there is no setting `{name}`{meant}")
        return value

    @field_validator("fail_if")
    @classmethod
    def _limits(cls, value: list[str]) -> list[str]:
        for text in value:
            read_limit(text)
        return value
