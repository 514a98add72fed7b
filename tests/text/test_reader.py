"""Tokens in any pieces become the document that the whole text is."""

import numpy as np
import pytest

from llmi_jax.core.document import ToolCall
from llmi_jax.text import grammar
from llmi_jax.text.reader import Reader

TEXT = (
  'A naïve 🐈 first. <imgen>{"source": "search", "description": "a cat", '
  '"params": {"query": "龘 cat"}}</imgen>\n'
  'Then more, and <imgen>{broken}</imgen> and an end without a tag <imgen>{'
)


@pytest.mark.parametrize('size', [1, 3, 7, 1000])
def test_pieces_of_tokens_read_as_the_whole(tokenizer, specs, size):
  ids = tokenizer.encode(TEXT)
  reader = Reader(tokenizer.decoder(), grammar.Parser(specs, 1))
  segments, called = [], None
  for start in range(0, len(ids), size):
    new = reader.push(np.asarray(ids[start : start + size]))
    if called is None and any(isinstance(segment, ToolCall) for segment in new):
      called = start
    segments += new
  segments += reader.close()
  assert grammar.merge(segments) == grammar.parse(TEXT, specs, 1).segments
  # The call is known long before the response ends.
  assert called is not None and (size > 20 or called < 0.7 * len(ids))
