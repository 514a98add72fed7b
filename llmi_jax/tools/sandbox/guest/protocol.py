"""The bytes that cross the border.

Per job the host gives three descriptors: the code, a pipe for the job's reply, a pipe for the launcher's word
on how the job ended. Only the launcher holds the last one, so a job can say anything about its own picture,
and nothing about its end or about another job. All lengths are bounded by the reader.
"""

import dataclasses
import struct

MAX_CODE = 200_000  # characters
MAX_TEXT = 200_000
MAX_ERROR = 2_000
MAX_PICTURE = 24 << 20  # bytes

_REQUEST = struct.Struct('<dd')
_REPLY = struct.Struct('<III')
_END = struct.Struct('<Bid')

EXITED, SIGNALLED, OVERDUE = range(3)


@dataclasses.dataclass(frozen=True)
class Request:
  """Host to launcher, together with the descriptors.

  Attributes:
    seconds: wall time that the job may take.
    cpu: processor seconds that it may take.
  """

  seconds: float
  cpu: float

  def pack(self) -> bytes:
    return _REQUEST.pack(self.seconds, self.cpu)

  @classmethod
  def unpack(cls, data: bytes) -> 'Request':
    return cls(*_REQUEST.unpack(data))


@dataclasses.dataclass(frozen=True)
class Reply:
  """Job to host: claims of untrusted code."""

  picture: bytes = b''
  error: str = ''
  text: str = ''

  def pack(self) -> bytes:
    error = self.error.encode('utf-8', 'replace')[:MAX_ERROR]
    text = self.text.encode('utf-8', 'replace')[:MAX_TEXT]
    return _REPLY.pack(len(self.picture), len(error), len(text)) + self.picture + error + text

  @classmethod
  def unpack(cls, data: bytes) -> 'Reply | None':
    """The reply, or None where the bytes are no whole reply within the limits."""
    if len(data) < _REPLY.size:
      return None
    picture, error, text = _REPLY.unpack_from(data)
    end = _REPLY.size + picture + error + text
    if picture > MAX_PICTURE or error > MAX_ERROR or text > MAX_TEXT or len(data) != end:
      return None
    cut = _REPLY.size + picture
    words = (
      data[cut : cut + error].decode('utf-8', 'replace'),
      data[cut + error : end].decode('utf-8', 'replace'),
    )
    return cls(data[_REPLY.size : cut], *words)


MAX_REPLY = _REPLY.size + MAX_PICTURE + MAX_ERROR + MAX_TEXT


@dataclasses.dataclass(frozen=True)
class End:
  """Launcher to host: how the job ended.

  Attributes:
    kind: `EXITED`, `SIGNALLED` or `OVERDUE`.
    code: exit status or signal number.
    seconds: wall time from start to end.
  """

  kind: int
  code: int
  seconds: float

  def pack(self) -> bytes:
    return _END.pack(self.kind, self.code, self.seconds)

  @classmethod
  def unpack(cls, data: bytes) -> 'End | None':
    return cls(*_END.unpack(data)) if len(data) == _END.size else None
