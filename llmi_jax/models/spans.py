"""Layers of several kinds as few spans, each a pattern that repeats, so that each span is one scan."""

from collections.abc import Hashable, Sequence
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
  """Covers `kinds` greedily: at each place the pattern that reaches furthest, the shortest of equals.

  A pattern longer than one layer must repeat; `(dense)×1, (moe)×47` and `(dense, moe)×12` come out as such.
  """
  found, start = [], 0
  while start < len(kinds):
    span = max(_candidates(kinds, start), key=lambda s: (len(s.pattern) * s.repeats, -len(s.pattern)))
    found.append(span)
    start += len(span.pattern) * span.repeats
  return tuple(found)


def _candidates(kinds: Sequence[Hashable], start: int):
  for size in range(1, min(LONGEST_PATTERN, len(kinds) - start) + 1):
    pattern, repeats = tuple(kinds[start : start + size]), 1
    while tuple(kinds[start + repeats * size : start + (repeats + 1) * size]) == pattern:
      repeats += 1
    if size == 1 or repeats > 1:
      yield Span(start, pattern, repeats)
