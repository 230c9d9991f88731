"""Where a JSON text stands that is written piece by piece."""

from __future__ import annotations

__all__ = ["Cursor"]

_NUMBER = frozenset(b"0123456789+-.eE")


class Cursor:
    """Follows a JSON text that is valid so far, byte by byte.

    Attributes:
        string: What is written of a string that is not closed, without its quote; None outside of strings.
        number: What is written of a number that may go on; empty elsewhere.
    """

    def __init__(self) -> None:
        self.string: bytes | None = None
        self.number = b""
        self._escaped = False
        self._is_key = False
        self._key_comes = False
        self._open: list[set[bytes] | None] = []

    def feed(self, data: bytes) -> None:
        """Takes the bytes that come next."""
        for byte in data:
            if self.string is None:
                self._outside(byte)
            else:
                self._inside(byte, self.string)

    def copy(self) -> Cursor:
        """A cursor at the same place that goes its own way."""
        made = Cursor()
        made.__dict__.update(self.__dict__)
        made._open = [None if keys is None else set(keys) for keys in self._open]
        return made

    @property
    def taken(self) -> frozenset[bytes]:
        """The keys of the object in which a key is being written or comes next; empty elsewhere."""
        keys = self._open[-1] if self._open else None
        writing = self._is_key if self.string is not None else True
        return frozenset(keys) if keys and writing else frozenset()

    def _inside(self, byte: int, string: bytes) -> None:
        if byte != 0x22 or self._escaped:
            self._escaped = byte == 0x5C and not self._escaped
            self.string = string + bytes((byte,))
            return
        keys = self._open[-1] if self._open else None
        if self._is_key and keys is not None:
            keys.add(string)
        self.string, self._is_key, self._key_comes = None, False, False

    def _outside(self, byte: int) -> None:
        self.number = (
            self.number + bytes((byte,)) if byte in _NUMBER and (self.number or byte in b"-0123456789") else b""
        )
        if byte == 0x22:
            self.string, self._is_key = b"", self._key_comes
        elif byte in b"{[":
            self._open.append(set() if byte == 0x7B else None)
            self._key_comes = byte == 0x7B
        elif byte in b"}]":
            if self._open:
                self._open.pop()
            self._key_comes = False
        elif byte == 0x2C:
            self._key_comes = bool(self._open) and self._open[-1] is not None
