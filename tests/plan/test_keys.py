"""Keys of cells and style targets: what was finished under a key must be found again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from nstcore.config.run import Output
from nstcore.core.setting_types import effects_of, setting
from nstcore.core.settings import EFFECTS, Settings
from nstcore.plan.keys import cell_key, target_key

KNOWN = json.loads((Path(__file__).parent / "keys.json").read_text())
"""Settings with their keys, computed before the effects of settings stood at their fields."""


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: str(known["settings"]))
def test_keys_stay_what_they_were(known: dict[str, object]) -> None:
    settings = Settings.model_validate(known["settings"])
    encoder = "e" * 64
    cell = cell_key(
        settings,
        seed=3,
        content="c" * 64,
        style=[["d" * 64, 1.0]],
        encoder=encoder,
        output=Output(),
    )
    assert cell == known["cell"]
    layers = ["relu2_1", "relu1_1"]
    assert target_key("f" * 64, 300, encoder, settings, layers, "g" * 64) == known["target"]


def test_a_setting_without_declared_effects_is_refused() -> None:
    class Undeclared(BaseModel):
        declared: int = setting(1, "A number.")
        forgotten: int = Field(2, description="Another number.")

    with pytest.raises(TypeError, match=r"Undeclared\.forgotten"):
        effects_of(Undeclared)
    assert EFFECTS.keys() == Settings.model_fields.keys()
