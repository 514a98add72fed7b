"""Answers that are nearly the same, by the runs of three words that they share."""

from collections.abc import Sequence

import numpy as np

from llmi_jax.core import wording

# Comparing is quadratic; of more answers an even selection is compared.
MOST = 600


def shingles(text: str) -> frozenset[tuple[str, ...]]:
  """The runs of three words; the words themselves where there are fewer."""
  said = wording.words(text)
  return frozenset(zip(said, said[1:], said[2:])) or frozenset((word,) for word in said)


def containment(text: str, source: str) -> float:
  """The share of `text`'s runs of words that stand in `source`; 0 where it has no words."""
  own = shingles(text)
  return len(own & shingles(source)) / len(own) if own else 0.0


def duplicate_share(texts: Sequence[str], groups: Sequence[str], alike: float = 0.8) -> float | None:
  """The share of answers with a near-duplicate among the answers to *other* tasks.

  Args:
    texts: of answers.
    groups: the task of each.
    alike: shared runs / all runs of two answers (Jaccard), from which on they count as the same.

  Returns:
    A share; None where there are no two tasks.
  """
  count = min(len(texts), MOST)
  chosen = sorted({int(i) for i in np.linspace(0, len(texts) - 1, count)})
  if len({groups[i] for i in chosen}) < 2:
    return None
  names: dict[tuple[str, ...], int] = {}
  rows = [[names.setdefault(run, len(names)) for run in shingles(texts[i])] for i in chosen]
  sizes = np.array([len(row) for row in rows])
  task = np.array([groups[i] for i in chosen])
  holders: list[list[int]] = [[] for _ in names]
  for index, row in enumerate(rows):
    for shingle in row:
      holders[shingle].append(index)
  doubled = np.zeros(len(rows), bool)
  for index, row in enumerate(rows):
    shared = np.zeros(len(rows), int)
    for shingle in row:
      shared[holders[shingle]] += 1
    union = sizes[index] + sizes - shared
    same = np.where(union > 0, shared / np.maximum(union, 1), 1.0) >= alike
    doubled[index] = bool((same & (task != task[index])).any())
  return float(doubled.mean())
