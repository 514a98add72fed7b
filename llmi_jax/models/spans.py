"""Layers of several kinds as few spans, each a pattern that repeats, so that each span is one scan."""

from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple


class Span(NamedTuple):
  """Neighbouring layers `start` … `start + len(pattern)·repeats − 1`.

  Attributes:
    start: index of the first layer.
    pattern: kinds of the layers that repeat.
    repeats: how often.
  """

  start: int
  pattern: tuple[Hashable, ...]
  repeats: int

  def layer(self, repeat: int, place: int) -> int:
    """Index of the layer at a place of the pattern in one of its repeats."""
    return self.start + repeat * len(self.pattern) + place


# Longer patterns would unroll more than they save.
LONGEST_PATTERN = 8


def spans(kinds: Sequence[Hashable]) -> tuple[Span, ...]:
  """The cover of `kinds` with the fewest layers in its patterns, which is what gets compiled.

  `(dense)×1, (moe)×47` and `(dense, moe)×12` come out as such.
  """
  count = len(kinds)
  best: list[tuple[int, tuple[Span, ...]]] = [(0, ())] * (count + 1)
  for start in reversed(range(count)):
    options = []
    for span in _candidates(kinds, start):
      cost, rest = best[start + len(span.pattern) * span.repeats]
      options.append((cost + len(span.pattern), (span, *rest)))
    best[start] = min(options, key=lambda option: (option[0], len(option[1])))
  return best[0][1]


def _candidates(kinds: Sequence[Hashable], start: int) -> Iterator[Span]:
  """Spans that may begin at a layer; a pattern longer than one layer must repeat."""
  for size in range(1, min(LONGEST_PATTERN, len(kinds) - start) + 1):
    pattern, repeats = tuple(kinds[start : start + size]), 1
    while tuple(kinds[start + repeats * size : start + (repeats + 1) * size]) == pattern:
      repeats += 1
      yield Span(start, pattern, repeats)
    if size == 1:
      yield Span(start, pattern, 1)
