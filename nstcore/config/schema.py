"""The JSON Schema of the configuration, for editors and for Snakemake."""

from __future__ import annotations

import json
from typing import Any

from nstcore.config.model import Config


def schema() -> dict[str, Any]:
    """The configuration's JSON Schema (draft 2020-12), generated from the model."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(),
    }


def schema_text() -> str:
    """The schema as it stands in ``workflow/schemas/config.schema.json``."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
