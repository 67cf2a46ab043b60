"""Runs beside each other: what was changed, and what became of every cell.

``runs`` reads, ``align`` finds the cells that belong together, ``changes`` and ``facts`` say how they
differ, ``limits`` what of that is too much; ``comparison`` puts them together, ``tables``, ``words``
and ``page`` show it.
"""
