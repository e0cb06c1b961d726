"""Whether the tables of a qcow2 disk lead to what is in its file: so a copy that was cut off is found.

QEMU reads what is missing at a file's end as zeros, so it would show a disk with nothing on it.
"""

from __future__ import annotations

import os
import struct
import sys
from array import array

_L1_AT = struct.Struct(">IQ")  # at byte 36 of the header: entries, and where they are; qcow2's specification
_OFFSET = 0x00FFFFFFFFFFFE00
_COMPRESSED = 1 << 62
_MOST_L1 = 4 << 20  # entries; QEMU takes no more
_MOST_READ = 64 << 20  # bytes of tables: those of half a terabyte. A hostile disk keeps nobody busy
_CUT_OFF = "it is cut off: what it has is to be found behind its end"


def fault(descriptor: int, head: bytes, cluster_bits: int, *, wide: bool) -> str:
    """Return what is wrong with a disk's tables, "" where nothing is. `wide` entries have 16 bytes each."""
    end, cluster = os.fstat(descriptor).st_size, 1 << cluster_bits
    entries, at = _L1_AT.unpack_from(head, 36)
    if entries > _MOST_L1:
        return f"its table has {entries} entries"
    if at + entries * 8 > end:
        return _CUT_OFF
    tables = {entry & _OFFSET for entry in _numbers(descriptor, at, entries * 8)} - {0}
    if any(table % cluster for table in tables):
        return "its tables begin where none can be"
    if any(table + cluster > end for table in tables):
        return _CUT_OFF
    for table in sorted(tables)[: _MOST_READ >> cluster_bits]:
        entries_of = _numbers(descriptor, table, cluster)[:: 2 if wide else 1]
        if max(_place(entry, cluster_bits) for entry in set(entries_of)) >= end:
            return _CUT_OFF
    return ""


def _place(entry: int, cluster_bits: int) -> int:
    if entry & _COMPRESSED:
        return entry & ((1 << (62 - (cluster_bits - 8))) - 1)
    return entry & _OFFSET


def _numbers(descriptor: int, at: int, length: int) -> array[int]:
    found = array("Q", os.pread(descriptor, length, at))
    if sys.byteorder == "little":
        found.byteswap()
    return found
