"""TensorBoard's event files: records with checksums, protocol buffers spelt out.

Written here because the small writers there are import torch wherever it is installed, and the large one
needs TensorFlow. Field numbers are those of tensorboard/compat/proto/{event,summary,tensor}.proto.
"""

import struct
import time

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reflected
_STRING = 7  # DT_STRING


def record(data: bytes) -> bytes:
  """A record: length, its checksum, data, its checksum."""
  length = struct.pack('<Q', len(data))
  return length + _masked(length) + data + _masked(data)


def version() -> bytes:
  """The event that begins a file."""
  return _double(1, time.time()) + _bytes(3, b'brain.Event:2')


def purge(step: int) -> bytes:
  """The event that hides those of steps from this one on in earlier files."""
  return _double(1, time.time()) + _number(2, step) + _bytes(7, _number(1, 1))


def event(step: int, *values: bytes) -> bytes:
  """An event with a step's values."""
  return (
    _double(1, time.time()) + _number(2, step) + _bytes(5, b''.join(_bytes(1, value) for value in values))
  )


def scalar(tag: str, value: float) -> bytes:
  """A number."""
  return _bytes(1, tag.encode()) + _tag(2, 5) + struct.pack('<f', value)


def image(tag: str, png: bytes, width: int, height: int) -> bytes:
  """A picture of three channels."""
  inside = _number(1, height) + _number(2, width) + _number(3, 3) + _bytes(4, png)
  return _bytes(1, tag.encode()) + _bytes(4, inside)


def text(tag: str, words: str) -> bytes:
  """Markdown."""
  shape = _bytes(2, _number(1, 1))
  tensor = _number(1, _STRING) + _bytes(2, shape) + _bytes(8, words.encode(errors='replace'))
  plugin = _bytes(1, _bytes(1, b'text'))
  return _bytes(1, tag.encode()) + _bytes(8, tensor) + _bytes(9, plugin)


def checksum(data: bytes) -> int:
  """CRC-32C."""
  crc = 0xFFFFFFFF
  for byte in data:
    crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
  return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
  crc = checksum(data)
  return struct.pack('<I', ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _entry(byte: int) -> int:
  for _ in range(8):
    byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
  return byte


def _varint(value: int) -> bytes:
  made = bytearray()
  while value > 0x7F:
    made.append(value & 0x7F | 0x80)
    value >>= 7
  return bytes([*made, value])


def _tag(field: int, wire: int) -> bytes:
  return _varint(field << 3 | wire)


def _number(field: int, value: int) -> bytes:
  return _tag(field, 0) + _varint(value)


def _double(field: int, value: float) -> bytes:
  return _tag(field, 1) + struct.pack('<d', value)


def _bytes(field: int, value: bytes) -> bytes:
  return _tag(field, 2) + _varint(len(value)) + value


_TABLE = tuple(map(_entry, range(256)))
