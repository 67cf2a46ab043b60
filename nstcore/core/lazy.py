"""Imports at first use, and the discovery of classes: planning a run must not load torch."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType
from typing import Any, ClassVar


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


class Discovered:
    """A class of which every subclass with a ``name`` is found by :func:`discover`.

    Attributes:
        name: the value of the setting that chooses it.
        label: the name that people read.
        formula: what it computes, or its source, in one line.
        own_settings: fields of ``Settings`` that no other of its kind reads.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    formula: ClassVar[str]
    own_settings: ClassVar[tuple[str, ...]] = ()


def discover(package: str, path: Iterable[str], base: type[Discovered]) -> dict[str, Any]:
    """Import every module of a package and collect the subclasses of ``base`` that they define, by name.

    Args:
        package, path: its ``__name__`` and ``__path__``.
        base: their base class.

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
