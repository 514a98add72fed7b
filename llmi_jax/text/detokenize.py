"""Token ids → text, token by token, for byte-level vocabularies.

A token is a string of bytes and may hold part of a character; characters come out whole.
"""

import codecs
from collections.abc import Iterable, Sequence

import numpy as np


def byte_alphabet() -> dict[str, int]:
  """The bytes by the character that stands for each in a byte-level vocabulary.

  A byte that is a visible Latin-1 character stands for itself; the others follow from U+0100 on.
  """
  shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
  hidden = [byte for byte in range(0x100) if byte not in shown]
  return {chr(byte): byte for byte in shown} | {chr(0x100 + n): byte for n, byte in enumerate(hidden)}


class Decoder:
  """Writes a response while it is sampled; what was pushed and closed joins to `Tokenizer.decode`'s text.

  Args:
    table: the bytes of every token; empty for special ones.
  """

  def __init__(self, table: Sequence[bytes]):
    self._table = table
    self._utf8 = codecs.getincrementaldecoder('utf-8')('replace')

  def push(self, token_id: int) -> str:
    """The characters that this token completes."""
    return self._utf8.decode(self._table[token_id])

  def close(self) -> str:
    """A replacement mark if the last character was cut off, else nothing."""
    return self._utf8.decode(b'', final=True)


def character_starts(ids: Iterable[int], table: Sequence[bytes]) -> tuple[np.ndarray, str]:
  """Where each token begins, and the text.

  Returns:
    [T] int64, the index of the character in which the token's first byte lies (special tokens: of the next
    character), and the decoded text.
  """
  utf8 = codecs.getincrementaldecoder('utf-8')('replace')
  starts, pieces, count = [], [], 0
  for token_id in ids:
    piece = table[token_id]
    cut_off = bool(utf8.getstate()[0])
    first = utf8.decode(piece[:1])
    # A byte that does not continue the character before it turns that one into a mark of its own.
    breaks = cut_off and (len(first) == 2 or (len(first) == 1 and bool(utf8.getstate()[0])))
    starts.append(count + breaks)
    pieces.append(first + utf8.decode(piece[1:]))
    count += len(pieces[-1])
  pieces.append(utf8.decode(b'', final=True))
  return np.asarray(starts, np.int64), ''.join(pieces)
