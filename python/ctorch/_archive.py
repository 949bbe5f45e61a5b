"""Zip archives of uncompressed records, laid out as PyTorch lays out its files."""

from __future__ import annotations

import struct
import zlib
from typing import Any

_ALIGNMENT = 64  # of each record's data in the file, so that it can be mapped into memory
_LIMIT32 = 0xFFFFFFFF
_TEXT_IN_UTF8 = 0x0800


class ArchiveWriter:
    """Writes an archive from front to back into a file object that has ``write``.

    Args:
        file: where to write.
        root: the folder that all records stand in.
    """

    def __init__(self, file: Any, root: str) -> None:
        self._file = file
        self._root = root
        self._position = 0
        self._entries: list[tuple[bytes, int, int, int]] = []  # name, checksum, size, position

    def add(self, name: str, data: Any) -> None:
        """Write one record. ``data`` is bytes or a memoryview of them."""
        encoded = f"{self._root}/{name}".encode()
        size = len(data)
        checksum = zlib.crc32(data)
        start = self._position
        wide = size >= _LIMIT32
        sizes = struct.pack("<HHQQ", 1, 16, size, size) if wide else b""
        # The padding is an extra field of the name that PyTorch gives it.
        before = start + 30 + len(encoded) + len(sizes) + 4
        padding = -before % _ALIGNMENT
        extra = sizes + b"FB" + struct.pack("<H", padding) + b"Z" * padding
        shown = _LIMIT32 if wide else size
        header = struct.pack(
            "<4sHHHHHIIIHH",
            b"PK\x03\x04",
            45 if wide else 20,
            _TEXT_IN_UTF8,
            0,
            0,
            0x21,  # 1 January 1980: the same content gives the same file
            checksum,
            shown,
            shown,
            len(encoded),
            len(extra),
        )
        self._write(header + encoded + extra)
        self._write(data)
        self._entries.append((encoded, checksum, size, start))

    def finish(self) -> None:
        """Write the directory that ends the archive."""
        start = self._position
        for name, checksum, size, position in self._entries:
            wide = size >= _LIMIT32 or position >= _LIMIT32
            extra = struct.pack("<HHQQQ", 1, 24, size, size, position) if wide else b""
            shown = _LIMIT32 if wide else size
            entry = struct.pack(
                "<4sHHHHHHIIIHHHHHII",
                b"PK\x01\x02",
                45,
                45 if wide else 20,
                _TEXT_IN_UTF8,
                0,
                0,
                0x21,
                checksum,
                shown,
                shown,
                len(name),
                len(extra),
                0,
                0,
                0,
                0,
                _LIMIT32 if wide else position,
            )
            self._write(entry + name + extra)
        length = self._position - start
        count = len(self._entries)
        if start >= _LIMIT32 or length >= _LIMIT32 or count >= 0xFFFF:
            end = self._position
            self._write(
                struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, start)
                + struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
            )
        self._write(
            struct.pack(
                "<4sHHHHIIH",
                b"PK\x05\x06",
                0,
                0,
                min(count, 0xFFFF),
                min(count, 0xFFFF),
                min(length, _LIMIT32),
                min(start, _LIMIT32),
                0,
            )
        )

    def _write(self, data: Any) -> None:
        self._file.write(data)
        self._position += len(data)


class ArchiveReader:
    """Reads the records of an archive.

    Args:
        file: a file object that can seek.
        what: the file's name, for messages.
    Raises: RuntimeError if it is no archive, a damaged one, or not one of PyTorch's kind.
    """

    def __init__(self, file: Any, what: str) -> None:
        import zipfile

        self._what = what
        self._bad = (
            zipfile.BadZipFile,
            NotImplementedError,
            RuntimeError,
            EOFError,
            OSError,
            ValueError,
            struct.error,
            zlib.error,
        )
        try:
            self._zip = zipfile.ZipFile(file)
            names = self._zip.namelist()
        except self._bad as error:
            raise self._damaged(error) from error
        roots = [
            name[: -len("data.pkl")] for name in names if name.count("/") == 1 and name.endswith("/data.pkl")
        ]
        if len(roots) != 1:
            raise RuntimeError(f"load: {what} is a zip archive, but not a checkpoint: it has no data.pkl")
        self._root = roots[0]

    def _damaged(self, error: Exception) -> RuntimeError:
        return RuntimeError(f"load: {self._what} is damaged or cut off ({error})")

    def __contains__(self, name: str) -> bool:
        return self._root + name in self._zip.NameToInfo

    def read(self, name: str, size: int | None = None) -> bytes:
        """Return a record, whose checksum is verified.

        Args:
            size: how long it has to be.
        """
        info = self._zip.NameToInfo.get(self._root + name)
        if info is None:
            raise RuntimeError(f"load: {self._what} has no record {name}")
        if size is not None and info.file_size != size:
            raise RuntimeError(
                f"load: {self._what}: expected record {name} to have {size} bytes, got {info.file_size}"
            )
        if info.compress_type != 0:
            raise RuntimeError(
                f"load: {self._what}: record {name} is compressed, which a checkpoint's is not"
            )
        try:
            return self._zip.read(info)
        except self._bad as error:
            raise self._damaged(error) from error
