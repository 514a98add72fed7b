"""A result as a page: the answer, who lost and why, what changed, what it took."""

import dataclasses
import difflib
import os
import pathlib

from markupsafe import Markup

from llmi_jax.core.answer import Prose
from llmi_jax.core.task import Task
from llmi_jax.data.rollout import from_answer
from llmi_jax.report import shell
from llmi_jax.report.pictures import Pictures, from_images
from llmi_jax.report.render import document, request_html
from llmi_jax.services.files import write_atomically
from llmi_jax.tts import record
from llmi_jax.tts.ledger import Spent
from llmi_jax.tts.pipeline import Result
from llmi_jax.tts.settings import STAGES

NAME = 'scaling.html'
_BYTES = 16 << 20  # of pictures
_SIDE = 384
_LINES = 40  # of a difference of texts


@dataclasses.dataclass(frozen=True)
class _Card:
  """One revision as shown."""

  index: int
  title: str
  stage: str
  parent: int | None
  why: str
  changed: tuple[int, ...]
  chosen: bool
  fates: tuple[tuple[str, bool, str, float | None], ...]
  body: Markup
  difference: str


def render(task: Task, result: Result, album: Pictures) -> Markup:
  """The part of a report that tells of one result."""
  template = shell.environment().get_template('scaling.html')
  told = record.account(result.account)
  return Markup(
    template.render(
      request=request_html(from_answer(result.answer, task), album),
      chosen=result.chosen,
      answer=document(from_answer(result.answer, task), album),
      selector=result.selector,
      notes=record.notes(result),
      stopped=sorted(result.account.stopped.items(), key=lambda pair: STAGES.index(pair[0])),
      stages=_stages(result),
      total=result.account.total,
      seconds=result.account.seconds,
      iteration=told['polish_seconds_per_iteration'],
      paper=told['polish_seconds_per_iteration_paper'],
      cards=[_card(task, result, index, album) for index in range(len(result.tree.revisions))],
    )
  )


def html(task: Task, result: Result) -> str:
  """The whole page, which needs nothing from anywhere."""
  known = {p.image.sha256: p.image for r in result.tree.revisions for p in r.answer.pictures}
  known |= {image.sha256: image for image in task.input_images}
  body = render(task, result, Pictures(from_images(known), _BYTES, _SIDE, linked=False))
  return shell.page(f'Scaling: {task.question or task.id}', body)


def write(folder: str | os.PathLike, task: Task, result: Result) -> pathlib.Path:
  """Writes the page into a folder.

  Raises:
    StorageError: it cannot be written.
  """
  path = pathlib.Path(folder) / NAME
  write_atomically(path, html(task, result).encode('utf-8', 'backslashreplace'))
  return path


def _stages(result: Result) -> list[tuple[str, float, list[tuple[str, Spent]]]]:
  """Stage, seconds on the clock, and what each role spent in it."""
  found = []
  for stage in STAGES:
    rows = [(role, spent) for (name, role), spent in result.account.rows.items() if name == stage]
    if stage in result.account.wall:
      found.append((stage, result.account.wall[stage], rows))
  return found


def _card(task: Task, result: Result, index: int, album: Pictures) -> _Card:
  tree = result.tree
  revision = tree.revisions[index]
  name = f'Sample {tree.sample(index)}'
  return _Card(
    index,
    name if revision.parent is None else f'{name}, {revision.stage}',
    revision.stage,
    revision.parent,
    revision.why,
    revision.changed,
    index == result.chosen,
    tuple((f.stage, f.kept, f.why, f.value) for f in tree.fates if f.revision == index),
    document(from_answer(revision.answer, task), album),
    _difference(result, index),
  )


def _difference(result: Result, index: int) -> str:
  """How the text differs from the parent's, in the form of `diff -u`; empty where it does not."""
  parent = result.tree.revisions[index].parent
  if parent is None:
    return ''
  texts = [[p.text for p in result.tree.answer(i).parts if isinstance(p, Prose)] for i in (parent, index)]
  before, after = ('\n'.join(one).splitlines() for one in texts)
  lines = list(difflib.unified_diff(before, after, lineterm='', n=1))[2:]
  return '\n'.join(lines[:_LINES] + ([f'… {len(lines) - _LINES} lines more'] if len(lines) > _LINES else []))
