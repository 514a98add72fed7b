"""Manners of text: pictures are not announced, tags do not stand in fences, words stand beside them."""

import re

from llmi_jax.core import wording
from llmi_jax.core.reward import Term

RULES = 3


def wordless(prose: str) -> bool:
  """Whether a text has no word of two letters."""
  return not re.search(r'[^\W\d_]{2}', prose)


def breaches(prose: str, fenced: bool) -> tuple[str, ...]:
  """What is broken, in words.

  Args:
    prose: an answer's text without its tags.
    fenced: whether a tag of it stands in a code fence.
  """
  announced = wording.announcements(prose)
  found = [f'announces a picture: {", ".join(announced[:3])}'] if announced else []
  found += ['a tag stands in a code fence'] if fenced else []
  found += ['there are no words'] if wordless(prose) else []
  return tuple(found)


def term(prose: str, fenced: bool) -> Term:
  """The share of rules that are kept."""
  broken = breaches(prose, fenced)
  return Term('hygiene', 1 - len(broken) / RULES, '; '.join(broken) or 'all rules are kept')
