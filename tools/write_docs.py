"""``python -m tools.write_docs``: write what is generated from the code: reference, schema, diagram."""

from __future__ import annotations

import logging

from nstcore.config.docs import reference_text, schema_text
from nstcore.store.files import write_text
from tools.draw_architecture import OUTPUT, ROOT, draw_architecture

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


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
