"""A response taken apart while it is sampled: token ids → the segments that they make certain."""

from collections.abc import Iterable

from llmi_jax.core.document import Segment
from llmi_jax.text.detokenize import Decoder
from llmi_jax.text.grammar import Parser


class Reader:
  """Returns, in pieces, what `grammar.parse` makes of the whole text (see `Parser`)."""

  def __init__(self, decoder: Decoder, parser: Parser):
    self._decoder, self._parser = decoder, parser

  def push(self, tokens: Iterable[int]) -> list[Segment]:
    """The segments that became certain with these tokens."""
    return self._parser.feed(''.join(self._decoder.push(int(token)) for token in tokens))

  def close(self) -> list[Segment]:
    """The segments that were open at the end of the response."""
    return [*self._parser.feed(self._decoder.close()), *self._parser.close()]
