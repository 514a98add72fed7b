"""ISG-Bench's four levels of one item, from its row in a results file; both modes.

| level | what | where the structure is wrong or there is no answer |
|---|---|---|
| structure | the sequence of texts and pictures is the golden one, 0 or 1 | 0 |
| block | mean of the relation questions, 1 to 10 | 1 |
| image | questions answered with yes / all questions | 0 |
| holistic | the judge's own overall score, 1 to 10 | no answer: 1 |

`repo` is `calculate_performance.py` with its defects: a relation reply that was lost, or is no number, makes
the item's block score 1, one without a grade is passed over; a record without image questions has image score
0; a holistic reply without an overall score is 1. A text as overall score, over which the script stumbles, is
1 here. `fixed`: what the environment lost is missing, what a record does not ask does not apply.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from llmi_jax.eval.record import Mode, Value

LEVELS = ('structure', 'block', 'image', 'holistic')
FLOORS = {'structure': 0.0, 'block': 1.0, 'image': 0.0, 'holistic': 1.0}
BLOCK, IMAGE = 'VQA_judge_Score', 'judge'


def levels(row: Mapping[str, Any], mode: Mode) -> tuple[Value, ...]:
  """The values of an item.

  Args:
    row: `{output, result: {structure, block, image, holistic}}`; without an answer it has no result. A reply
      that was lost stands as null, one that could not be read as `{error}`.
    mode: of the benchmark.
  """
  result = row.get('result')
  if not isinstance(result, Mapping):
    return tuple(_floor(name, 'There is no answer.') for name in LEVELS)
  if 'error' in result:
    why = f'The item was wiped: {result["error"]}'
    return tuple(_floor(name, why) for name in LEVELS)
  structure = bool(result.get('structure'))
  first = Value('structure', float(structure))
  if not structure:
    block, image = (_floor(name, 'The structure is wrong.') for name in ('block', 'image'))
  elif mode == 'repo':
    block, image = _block_repo(result.get('block')), _image_repo(result.get('image'))
  else:
    block, image = _block(result.get('block') or ()), _image(result.get('image') or ())
  return first, block, image, _holistic(result.get('holistic'), row, mode)


def _floor(name: str, why: str) -> Value:
  return Value(name, FLOORS[name], 'floored', why)


def _block_repo(questions: Any) -> Value:
  if not questions:
    return Value('block', None, 'absent', 'The record asks for no relation.')
  replies = [q[BLOCK] for q in questions if BLOCK in q]
  if any(reply is None for reply in replies):
    return _floor('block', 'A relation reply was lost.')
  grades = [reply['Judge'] for reply in replies if 'Judge' in reply]
  if not grades:
    return _floor('block', 'No relation was graded.')
  if not all(isinstance(grade, int | float) for grade in grades):
    return _floor('block', 'A relation grade is no number.')
  return Value('block', sum(grades) / len(grades))


def _image_repo(questions: Any) -> Value:
  if not questions:
    return _floor('image', 'The record asks nothing about single pictures.')
  share = sum(_is_yes(q) for q in questions) / len(questions)
  if lost := _lost(questions):
    return Value('image', share, 'floored', f'{lost} replies are missing and count as no.')
  return Value('image', share)


def _block(questions: Sequence[Mapping[str, Any]]) -> Value:
  asked = [q[BLOCK] for q in questions if BLOCK in q]
  if not asked:
    return Value('block', None, 'absent', 'The record asks for no relation that the answer could have.')
  grades = [reply.get('Judge') if reply else None for reply in asked]
  if not all(isinstance(grade, int | float) for grade in grades):
    lost = sum(not isinstance(grade, int | float) for grade in grades)
    return Value('block', None, 'missing', f'{lost} of {len(asked)} relation replies are missing.')
  return Value('block', sum(g for g in grades if g is not None) / len(grades))


def _image(questions: Sequence[Mapping[str, Any]]) -> Value:
  if not questions:
    return Value('image', None, 'absent', 'The record asks nothing about single pictures.')
  if lost := _lost(questions):
    return Value('image', None, 'missing', f'{lost} of {len(questions)} replies are missing.')
  return Value('image', sum(_is_yes(q) for q in questions) / len(questions))


def _lost(questions: Sequence[Mapping[str, Any]]) -> int:
  """Questions that were asked and not answered."""
  return sum(IMAGE in q and (not q[IMAGE] or 'Judge' not in q[IMAGE]) for q in questions)


def _is_yes(question: Mapping[str, Any]) -> bool:
  reply = question.get(IMAGE)
  return bool(reply) and str(reply.get('Judge', '')).lower() == 'yes'


def _holistic(reply: Any, row: Mapping[str, Any], mode: Mode) -> Value:
  overall = reply.get('overall_score') if isinstance(reply, Mapping) else None
  output = row.get('output') or ()
  if mode == 'repo' and (not output or output[0].get('content') == ''):
    return _floor('holistic', 'The answer begins with nothing.')
  if isinstance(overall, int | float):
    return Value('holistic', float(overall))
  if mode == 'repo':
    return _floor('holistic', 'The judge gave no overall score.')
  return Value('holistic', None, 'missing', 'The judge gave no overall score.')
