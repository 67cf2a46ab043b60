"""Which cells are made again, larger, from their own results."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from nstcore.config.given import SettingsInput, Strict

PARETO = "pareto"


class Row(Strict):
    """One chosen cell, or all that have what it names."""

    style: str | None = None
    content: str | None = None
    setting: str | None = None
    seed: int | None = None


class Refine(Strict):
    """Chosen cells of the finished grid, made again from where they ended."""

    choose: str | list[Row] = Field(
        PARETO,
        description="`pareto`: for each style and content the cells that no other beats in both content "
        "and style loss, those near the knee of that front first. Or a table (.tsv or .csv) with any of "
        "the columns `style`, `content`, `setting`, `seed`, as in `grid.tsv` and `metrics.csv`: rows "
        "copied from there will do. Or such rows themselves.",
    )
    count: int = Field(
        3, ge=1, description="Most cells for each style and content, for `choose: pareto`."
    )
    settings: SettingsInput = Field(
        description="Settings on top of each chosen cell's own, for example `{size: 1024, iterations: "
        "[150]}`. The cell's picture is the start, and the pyramid has only levels larger than it.",
    )

    @field_validator("settings")
    @classmethod
    def _with_the_picture_as_start(cls, value: SettingsInput) -> SettingsInput:
        given: dict[str, Any] = value.given
        if not given:
            raise ValueError("is empty; give at least one setting, for example `size: 1024`")
        for name in ("init", "init_file"):
            if name in given:
                raise ValueError(f"`{name}` cannot be set: the chosen cell's picture is the start")
        return value
