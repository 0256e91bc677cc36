"""The checksum of a safetensors file, kept in its own header: any bit that changes after it was written is noticed.

It is the CRC-32 of the whole file with eight zeros where the checksum itself stands. It finds what disks, memory and
copies damage; whoever forges a file can forge it too.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import BinaryIO

#: The header's string that holds it, as eight hexadecimal digits.
CHECKSUM_KEY = "file_crc32"
#: What stands there while it is computed.
PLACEHOLDER = "00000000"

_BLOCK = 1 << 22  # bytes that are read at once
#: Bytes; the limit of the format.
_LONGEST_HEADER = 100_000_000


def read_header(file: BinaryIO) -> bytes:
    """Read the beginning of a safetensors file, the eight bytes of its length included, up to the first tensor.

    Raises:
        ValueError: It does not begin with a header.
    """
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if length > min(_LONGEST_HEADER, os.fstat(file.fileno()).st_size):
        raise ValueError("it does not begin with a header")
    return prefix + file.read(length)


def write_checksum(path: Path) -> None:
    """Put the checksum of a file into its header, in which `PLACEHOLDER` stands for it."""
    with open(path, "r+b") as file:
        header = read_header(file)
        entry = _entry(PLACEHOLDER)
        place = header.index(entry) + len(entry) - len(PLACEHOLDER) - 1
        checksum = _compute(header, file)
        file.seek(place)
        file.write(checksum.encode())


def find_checksum(file: BinaryIO, stored: str) -> str:
    """Return the checksum of an open file, read from its beginning, whose header says that it is ``stored``.

    Raises:
        ValueError: It does not begin with a header.
    """
    header = read_header(file)
    return _compute(header.replace(_entry(stored), _entry(PLACEHOLDER), 1), file)


def _compute(header: bytes, rest: BinaryIO) -> str:
    checksum = zlib.crc32(header)
    while block := rest.read(_BLOCK):
        checksum = zlib.crc32(block, checksum)
    return f"{checksum:08x}"


def _entry(digits: str) -> bytes:
    """Return the checksum's entry as safetensors writes it; inside a string its quotes would be escaped."""
    return f'"{CHECKSUM_KEY}":"{digits}"'.encode()
