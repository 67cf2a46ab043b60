"""Pages that open from the disk with the network off: style, program and data in one file.

A page forbids itself by a content security policy everything but its own style, its own program and
files beside it, so that no text in a run can ever become a program.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import jinja2
from markupsafe import Markup

from nstcore.report.payload import escaped_json

TEMPLATES = resources.files("nstcore.report") / "templates"
"""What pages share, and the report's own."""


def fill(
    template: str,
    *,
    styles: Sequence[str],
    scripts: Sequence[str],
    data: Any,
    libraries: str = "",
    folders: Sequence[Traversable] = (TEMPLATES,),
    **values: Any,
) -> str:
    """Fill a page's template.

    Args:
        template: name of the page's file.
        styles: names of its style sheets, the last wins.
        scripts: names of the parts of its program, in the order in which they build on each other.
        libraries: programs of others, which run before the page's own.
        data: what the program reads from the element ``data``.
        folders: where all these files are looked for, in this order.
        values: what else the template shows, as text.

    Raises:
        ValueError: if the data hold NaN or infinity, which JSON lacks.
    """

    def read(name: str) -> str:
        file = next(file for folder in folders if (file := folder / name).is_file())
        return file.read_text(encoding="utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = "\n".join(map(read, styles))
    own = "(() => {\n'use strict';\n" + "\n".join(map(read, scripts)) + "\n})();\n"
    program = f"{libraries}\n{own}"  # strict is the own part only
    return environment.get_template(template).render(
        **values,
        style=Markup(style),
        program=Markup(program),
        style_digest=_digest(style),
        program_digest=_digest(program),
        data=Markup(escaped_json(data)),
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
