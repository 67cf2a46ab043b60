"""Imports at first use, and the discovery of classes: planning a run must not load torch."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType
from typing import Any


class _LazyModule(ModuleType):
    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


def lazy_import(name: str) -> ModuleType:
    """A stand-in for a module, which is imported when an attribute is first asked for.

    Example:
        >>> from typing import TYPE_CHECKING
        >>> if TYPE_CHECKING:
        ...     import torch
        ... else:
        ...     torch = lazy_import("torch")
    """
    return _LazyModule(name)


def discover(package: str, path: Iterable[str], base: type[Any]) -> dict[str, Any]:
    """Import every module of a package and collect the subclasses of ``base`` that they define.

    Args:
        package: its ``__name__``.
        path: its ``__path__``.
        base: a class whose concrete subclasses have the class attribute ``name``.

    Returns:
        name -> class, sorted by name.

    Raises:
        TypeError: if two classes have the same name.
    """
    found: dict[str, Any] = {}
    for module in pkgutil.iter_modules(path, f"{package}."):
        for value in vars(importlib.import_module(module.name)).values():
            if not (isinstance(value, type) and issubclass(value, base)):
                continue
            name = vars(value).get("name")
            if name is None or value.__module__ != module.name:
                continue
            if name in found:
                raise TypeError(f"{found[name]} and {value} have the same name {name!r}")
            found[name] = value
    return dict(sorted(found.items()))
