"""Captions as token ids: the words that the painter knows, in their order; all others fall away."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

LENGTH = 12  # tokens of a caption; further ones are cut
NOTHING = 0  # fills a caption up, and is the whole caption where none is given


def ids(caption: str, vocabulary: Mapping[str, int]) -> list[int]:
  """The ids of the known words of a caption, plurals read as singulars, without a limit."""
  found = (_look_up(word, vocabulary) for word in re.findall(r'[a-z]+', caption.lower()))
  return [word for word in found if word]


def encode(captions: Sequence[str], vocabulary: Mapping[str, int]) -> np.ndarray:
  """Captions as int32 [B, LENGTH].

  Args:
    captions: any text.
    vocabulary: word → id above 0; several words may share one.
  """
  tokens = np.full((len(captions), LENGTH), NOTHING, np.int32)
  for row, caption in zip(tokens, captions):
    known = ids(caption, vocabulary)[:LENGTH]
    row[: len(known)] = known
  return tokens


def _look_up(word: str, vocabulary: Mapping[str, int]) -> int:
  endings = (('', ''), ('s', ''), ('es', ''), ('ies', 'y'))
  stems = (word.removesuffix(end) + new for end, new in endings if word.endswith(end))
  return next((vocabulary[stem] for stem in stems if stem in vocabulary), NOTHING)
