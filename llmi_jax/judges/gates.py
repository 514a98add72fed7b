"""Answers that need no judge to be bad: cheap checks before the call, each the lowest score with its reason.

They stand against what fools language models as judges: emptiness, a lone colon, the request given back, one
phrase over and over.
"""

import re
from collections.abc import Sequence

from llmi_jax.core import wording
from llmi_jax.core.answer import Answer, Gap, Picture, Prose
from llmi_jax.core.task import Task

GATES = ('empty', 'copied', 'repeated')
_COPIED = 0.9  # of the answer's runs of three words stand in the request
_DISTINCT = 0.2  # of the runs are different ones
_MANY_WORDS = 60


def closed(task: Task, answer: Answer, gates: Sequence[str] = GATES) -> str | None:
  """Why the answer needs no judge, such as `empty: it has no words`; None where it needs one.

  Args:
    task: what was asked.
    answer: what is judged.
    gates: which checks are made.
  """
  prose = ' '.join(part.text for part in answer.parts if isinstance(part, Prose))
  said = wording.words(prose)
  if 'empty' in gates and not re.search(r'[^\W\d_]{2}', prose) and not _tagged(answer):
    return 'empty: it has no words and no tags.'
  runs = list(zip(said, said[1:], said[2:]))
  asked = wording.words(task.question)
  known = set(zip(asked, asked[1:], asked[2:]))
  if 'copied' in gates and len(runs) >= 3 and sum(run in known for run in runs) >= _COPIED * len(runs):
    return 'copied: its words are the request.'
  if 'repeated' in gates and len(said) >= _MANY_WORDS and len(set(runs)) < _DISTINCT * len(runs):
    return 'repeated: it says the same over and over.'
  return None


def _tagged(answer: Answer) -> bool:
  return any(isinstance(part, Picture | Gap) for part in answer.parts)
