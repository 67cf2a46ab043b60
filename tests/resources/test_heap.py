"""Freed memory stays with the process, and can be given back."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from nstcore.resources.device_memory import keep_freed_memory

CHILD = """
import ctypes, json, sys
import numpy as np
from nstcore.resources.device_memory import give_back_freed_memory, keep_freed_memory

NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()

class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in NAMES]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Mallinfo

def held():
    found = mallinfo()
    return found.arena + found.hblkhd

if sys.argv[1] != "plain":
    assert keep_freed_memory()
if sys.argv[1] == "small":
    assert keep_freed_memory(large=False)
blocks = [np.ones(8 << 20) for _ in range(3)]
full = held()
del blocks
freed = held()
give_back_freed_memory()
print(json.dumps([full, freed, held()]))
"""
"""What the C library has from the system by its own account; what is resident, the kernel decides."""


def _held(how: str) -> list[int]:
    child = subprocess.run(
        [sys.executable, "-c", CHILD, how], capture_output=True, text=True, check=True
    )
    found: list[int] = json.loads(child.stdout)
    return found


@pytest.mark.skipif(not keep_freed_memory(), reason="needs glibc")
def test_freed_memory_is_kept_until_it_is_given_back():
    size = 3 * 8 * (8 << 20)
    full, freed, after = _held("kept")
    assert full - freed < 0.1 * size
    assert full - after > 0.9 * size
    for how in ("plain", "small"):
        full, freed, _ = _held(how)
        assert full - freed > 0.9 * size
