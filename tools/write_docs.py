"""``python -m tools.write_docs``: write what is generated from the code: reference, schema, diagram."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from nstcore.config.run import (
    Cluster,
    Compare,
    Config,
    Evaluation,
    Output,
    Refine,
    Report,
    schema_text,
)
from nstcore.config.sweep import Sample, Sweep
from nstcore.core.metrics import METRICS
from nstcore.core.settings import PRESETS, Settings
from nstcore.store.files import write_text
from tools.draw_architecture import OUTPUT, ROOT, draw_architecture

TEMPLATE = Path(__file__).with_name("reference.md")
"""The reference of the configuration, with a comment in the place of every generated table."""

_MODELS: tuple[type[BaseModel], ...] = (
    *(Cluster, Compare, Config, Evaluation, Output, Refine, Report),
    *(Sample, Settings, Sweep),
)

log = logging.getLogger(__name__)


def main() -> None:
    """Write every generated file whose text has changed."""
    texts = {
        ROOT / "config" / "README.md": reference_text(),
        ROOT / "workflow" / "schemas" / "config.schema.json": schema_text(),
        OUTPUT: draw_architecture(),
    }
    for path, text in texts.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
            log.info("wrote %s", path.relative_to(ROOT))


def reference_text() -> str:
    """The text of ``config/README.md``."""
    models = {model.__name__: model for model in _MODELS}
    return re.sub(
        r"<!-- (\w+)(?:: (\w+) ?(\S*))? -->",
        lambda found: (
            _table(models[found[2]], found[3])
            if found[1] == "table"
            else {"metrics": _metrics, "presets": _presets}[found[1]]()
        ),
        TEMPLATE.read_text(encoding="utf-8"),
    )


def _table(model: type[BaseModel], prefix: str) -> str:
    lines = ["| key | values | default | meaning |", "|---|---|---|---|"]
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        values = _values(schema["properties"][name], schema.get("$defs", {}))
        cells = [f"`{prefix}{name}`", values, _default(field), field.description or ""]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _metrics() -> str:
    rows = [
        f"| `{one.name}` | {one.formula}{f' ({one.unit})' if one.unit else ''} | {one.better or ''} |"
        for one in METRICS.values()
    ]
    return "\n".join(["| column | what it is | better |", "|---|---|---|", *rows])


def _presets() -> str:
    lines = []
    for name, values in PRESETS.items():
        listed = ", ".join(f"`{key}: {json.dumps(value)}`" for key, value in values.items())
        lines.append(f"- `preset: {name}`: {listed}. Settings beside it override it.")
    return "\n".join(lines)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "(required)"
    value = field.default
    if isinstance(value, BaseModel):
        return "see below"
    return "(empty)" if value is None else f"`{json.dumps(value)}`"


def _values(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """A property's type and range in words."""
    if "$ref" in schema or "allOf" in schema:
        return "keys, see below"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        kinds = [_values(part, definitions) for part in schema["anyOf"] if part != {"type": "null"}]
        return " or ".join(dict.fromkeys(kinds))
    kind = schema.get("type", "any")
    if kind == "array":
        inner = _values(schema["items"], definitions) if schema.get("items") else "values"
        return f"list of {inner}" if inner != "any" else "list"
    if kind == "object":
        return "map"
    words = {"string": "text", "integer": "integer", "number": "number", "boolean": "true, false"}
    return str(words.get(kind, kind)) + _range(schema)


def _range(schema: dict[str, Any]) -> str:
    parts = [
        f"{sign} {_number(schema[key])}"
        for key, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if key in schema
    ]
    return f" {', '.join(parts)}" if parts else ""


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
