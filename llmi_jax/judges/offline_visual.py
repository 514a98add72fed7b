"""Checks of an answer's pictures: the three scores of the offline judge `mllm`.

`image_quality`, the weakest picture counts: at least 64 pixels a side 1.00 · not one flat colour 3.00.
`task_relevance`: how far the pictures are the wanted ones, summed over the best pairing and divided by
whichever is more, pictures wanted or places used: a photograph whose caption holds the subject's words, a
chart of the right numbers and kind, the right change to the right picture.
`text_image_relevance`: how far the prose directly before or after each picture speaks of what it shows; a
picture that is none of the wanted ones counts 0.

Each is multiplied by the share of places that hold a picture: failed calls and bad tags lower all three.
Without a rubric, captions and calls are compared with the request.

What it does not check: what the pixels show. It trusts captions and executed parameters.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmi_jax.core import wording
from llmi_jax.core.answer import Answer, Picture, Prose
from llmi_jax.core.document import ToolCall
from llmi_jax.core.image import Image
from llmi_jax.core.rubric import Shows
from llmi_jax.core.task import Task
from llmi_jax.core.verdict import Score
from llmi_jax.judges import checks, matching
from llmi_jax.judges.checks import Check
from llmi_jax.judges.matching import Wanted
from llmi_jax.judges.offline_text import wanted_pictures
from llmi_jax.services import images

_SIDE = 64
_SPREAD = 8.0
_MOST_PICTURES = 64
_MOST_REMEMBERED = 100_000
_OF_REQUEST = 3.0


class Visual:
  """The three scores. Remembers how flat each picture is, by its hash."""

  def __init__(self):
    self._spread: dict[str, float] = {}

  def scores(self, task: Task, answer: Answer) -> tuple[Score, Score, Score]:
    """Scores an answer that has at least one picture."""
    pictures = answer.pictures[:_MOST_PICTURES]
    places = len(answer.pictures) + len(answer.gaps)
    share = len(answer.pictures) / places
    held = f'{len(answer.pictures)} of {places} places hold a picture'
    wanted = wanted_pictures(task)
    fits = [[_fit(w, picture) for w in wanted] for picture in pictures]
    given = matching.assign(fits)
    if wanted:
      relevance = sum(row[column] for row, column in zip(fits, given) if column is not None)
      relevance /= max(len(wanted), len(pictures))
    else:
      relevance = min(_about_request(task, picture) for picture in pictures)
    shown = [_shown(picture, wanted, column) for picture, column in zip(pictures, given)]
    beside = [wording.recall(what, text) for what, text in zip(shown, _neighbours(answer))]
    return (
      checks.score('image_quality', self._quality(pictures, share, held)),
      checks.score('task_relevance', (Check('wanted pictures', 1.0, share * relevance, held),)),
      checks.score(
        'text_image_relevance',
        (Check('prose speaks of its pictures', 1.0, share * sum(beside) / len(beside), held),),
      ),
    )

  def _quality(self, pictures: Sequence[Picture], share: float, held: str) -> tuple[Check, Check]:
    side = min(min(picture.image.width, picture.image.height) for picture in pictures)
    spread = min(self._spread_of(picture.image) for picture in pictures)
    return (
      Check('large enough', 0.25, share * min(1.0, side / _SIDE), f'smallest side {side}; {held}'),
      Check('not flat', 0.75, share * min(1.0, spread / _SPREAD), f'deviation {spread:.1f}'),
    )

  def _spread_of(self, image: Image) -> float:
    if image.sha256 not in self._spread:
      if len(self._spread) >= _MOST_REMEMBERED:
        self._spread.clear()
      self._spread[image.sha256] = _spread(image)
    return self._spread[image.sha256]


def _spread(image: Image) -> float:
  """Standard deviation of the pixel values, 0 to 127.5; 0 where the picture cannot be read."""
  try:
    pixels = images.to_array(image)
  except (OSError, SyntaxError, ValueError):  # what Pillow raises on broken PNG files
    return 0.0
  return float(pixels[::4, ::4].astype(np.float32).std(axis=(0, 1)).max())


def _fit(wanted: Wanted, picture: Picture) -> float:
  """How far a picture is the wanted one, by its caption or by what was executed."""
  if not isinstance(picture.call, ToolCall):
    return 0.0
  if isinstance(wanted, Shows):
    return wording.recall(wanted.what, _caption(picture)) if picture.call.tool == 'search' else 0.0
  return matching.of_params(wanted, picture.call.tool, _executed(picture))


def _shown(picture: Picture, wanted: Sequence[Wanted], column: int | None) -> str:
  """What neighbouring prose should speak of; empty for a picture that nobody wanted."""
  if column is not None:
    return wanted[column].what
  if wanted:
    return ''
  return picture.call.description if isinstance(picture.call, ToolCall) else _caption(picture)


def _neighbours(answer: Answer) -> list[str]:
  """For each picture the prose directly before and after it."""
  texts = ['', *(part.text if isinstance(part, Prose) else '' for part in answer.parts), '']
  around = zip(answer.parts, texts, texts[2:])
  return [f'{before} {after}' for part, before, after in around if isinstance(part, Picture)]


def _about_request(task: Task, picture: Picture) -> float:
  call = picture.call
  said = [_caption(picture), *((call.description,) if isinstance(call, ToolCall) else ())]
  return min(
    1.0,
    _OF_REQUEST * wording.recall(task.question, ' '.join((*said, *map(str, _executed(picture).values())))),
  )


def _caption(picture: Picture) -> str:
  if picture.outcome is None or not picture.outcome.candidates:
    return ''
  best = picture.outcome.candidates[0]
  return f'{best.attribution.title if best.attribution else ""} {best.caption}'


def _executed(picture: Picture) -> Mapping[str, Any]:
  """The parameters as executed, the written ones where the tool does not say."""
  written = dict(picture.call.params) if isinstance(picture.call, ToolCall) else {}
  return written | (dict(picture.outcome.executed) if picture.outcome else {})
