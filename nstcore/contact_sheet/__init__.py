"""Contact sheets: the pictures of a run as a labelled matrix, in PNG and PDF.

``names`` spells the pages, ``axes`` deals the cells out, ``heads`` and ``layout`` plan, ``render``
draws, ``pdf`` writes.  The workflow imports ``page_names`` whenever it is read, so everything
heavier is imported only when it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nstcore.contact_sheet.axes import page_names

if TYPE_CHECKING:
    from nstcore.contact_sheet.axes import SheetSpec
    from nstcore.contact_sheet.layout import plan_pages
    from nstcore.contact_sheet.pictures import find_sources, source_sizes
    from nstcore.contact_sheet.render import render_page, write_sheets

__all__ = [
    "SheetSpec",
    "find_sources",
    "page_names",
    "plan_pages",
    "render_page",
    "source_sizes",
    "write_sheets",
]

_MODULES = {
    "SheetSpec": "axes",
    "plan_pages": "layout",
    "find_sources": "pictures",
    "source_sizes": "pictures",
    "render_page": "render",
    "write_sheets": "render",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
