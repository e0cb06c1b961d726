"""Whether the tables of a VMDK lead to what is in its file: so a copy that was cut off is found.

QEMU reads what is missing at a file's end as zeros, so it would show a disk with nothing on it.
"""

from __future__ import annotations

import os
import struct
import sys
from array import array

_SECTOR = 512
_MAGIC = b"KDMV"
# VMware, Virtual Disk Format 5.0, hosted sparse extents. From byte 12 of the header: capacity
# and size of a grain in sectors, the description's place and length, entries of a table, and where the two
# directories of tables are.
_HEADER = struct.Struct("<QQQQIQQ")
_AT_END = (1 << 64) - 1  # as a directory's place: the header that counts is the last but one sector
_MOST_ENTRIES = 1 << 16  # of a table; QEMU takes 512
_MOST_READ = 64 << 20  # bytes of tables: those of a terabyte. A hostile disk keeps nobody busy
_CUT_OFF = "it is cut off: what it has is to be found behind its end"
_HOLES = 2  # entries below it are none: nothing is there, or zeros are


def fault(descriptor: int, head: bytes) -> str:
    """Return what is wrong with a disk's tables, "" where nothing is."""
    end = os.fstat(descriptor).st_size
    if _HEADER.unpack_from(head, 12)[-1] == _AT_END:
        head = os.pread(descriptor, _SECTOR, max(0, end - 2 * _SECTOR))
        if head[:4] != _MAGIC or len(head) < _SECTOR:
            return "it is cut off: the header at its end is missing"
    capacity, grain, _, _, entries, _, directory = _HEADER.unpack_from(head, 12)
    if not 0 < entries <= _MOST_ENTRIES or not grain:
        return f"it says that its tables have {entries} entries, for {grain} sectors each"
    tables = -(-capacity // (grain * entries))
    if directory * _SECTOR + tables * 4 > end:
        return _CUT_OFF
    places = _numbers(descriptor, directory, min(tables * 4, _MOST_READ))
    for place in [each for each in places if each >= _HOLES][: _MOST_READ // (entries * 4)]:
        if place * _SECTOR + entries * 4 > end:
            return _CUT_OFF
        if any(
            each >= _HOLES and each * _SECTOR >= end for each in set(_numbers(descriptor, place, entries * 4))
        ):
            return _CUT_OFF
    return ""


def _numbers(descriptor: int, sector: int, length: int) -> array[int]:
    found = array("I", os.pread(descriptor, length, sector * _SECTOR))
    if sys.byteorder == "big":
        found.byteswap()
    return found
