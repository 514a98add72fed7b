"""A run's report: one HTML file that needs nothing from anywhere."""

import json
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from llmi_jax import metrics
from llmi_jax.core.errors import DataError
from llmi_jax.data.rollout import Rollout
from llmi_jax.report import calls, charts, curves, gallery, shell
from llmi_jax.report.pictures import Pictures, from_folder
from llmi_jax.report.render import Sibling, render, request_html
from llmi_jax.services.files import write_atomically

NAME = 'report.html'
MOST_BYTES = 25 << 20
_SPARE = 64 << 10  # bytes for what is said of pictures beside the file
_BESIDE = "data: 'self' file:"  # opened from a file, a page has no origin that 'self' could mean

# Shares among an evaluation's figures: key, name, meaning.
_FIGURES = (
  ('reward', 'Reward', 'what training raises: the gated sum of the next three'),
  ('rule', 'Image rule', 'how well the number of images follows the rule'),
  ('llm', 'Text judge', 'score of text and tags'),
  ('mllm', 'Visual judge', 'score of images against text and request'),
  ('valid_tag_rate', 'Valid tags', 'share of tags that are well formed'),
  ('image_rule_rate', 'Rule kept', 'share of answers with as many images as asked for'),
  ('tool_accuracy', 'Right tools', 'share of answers whose required tools are exactly those that succeeded'),
  ('tool_success', 'Calls that succeed', 'share of tool calls that gave an image'),
)

# What of the configuration stands under the title, where it is there.
_SETTINGS = (
  ('prompts per step', 'data.prompts'),
  ('samples per prompt', 'data.samples'),
  ('policy', 'policy.path'),
  ('seed', 'seed'),
)

_SECTIONS = (
  ('best', 'Best', 'The highest rewards in training, one sample per task, later ones first among equals.'),
  ('worst', 'Worst', 'The lowest rewards in the last quarter of training, one sample per task.'),
  (
    'failed',
    'Failed',
    'From the last quarter of training: samples that could not be scored through no fault of the policy, '
    'then those with the most missing images.',
  ),
)


class Figure(NamedTuple):
  """A row of the evaluation table; `before` or `after` is None where it was not measured."""

  name: str
  meaning: str
  before: float | None
  after: float | None

  @property
  def change(self) -> float | None:
    return None if self.before is None or self.after is None else self.after - self.before


def _tell(words: str) -> None:
  print(words, file=sys.stderr)


def build(workdir: str | os.PathLike, tell: Callable[[str], None] = _tell) -> pathlib.Path:
  """Writes `report.html` from what a run has left so far; an unfinished run gives a report of its beginning.

  It is one file of at most 25 MiB. Where its pictures would make it larger, those beyond are shown from the
  run's folder `images`, in which they lie under their hashes.

  Args:
    workdir: the run's folder.
    tell: is told in a sentence if the report needs that folder.

  Returns:
    The report's path.

  Raises:
    DataError: the run has a broken config, metrics, summary or rollout file.
    StorageError: the report cannot be written.
  """
  workdir = pathlib.Path(workdir)
  html, linked = _html(workdir, _Room(MOST_BYTES))
  if len(html) > MOST_BYTES:
    text = len(html) - linked.spent
    html, linked = _html(workdir, _Room(max(MOST_BYTES - text - _SPARE, 0), text + linked.needed))
  if linked.words:
    tell(f'Warning: {linked.words}')
  write_atomically(workdir / NAME, html)
  return workdir / NAME


def flatten(config: Mapping[str, Any], prefix: str = '') -> list[tuple[str, str]]:
  """Dotted names and values of a nested configuration."""
  rows = []
  for name, value in config.items():
    if isinstance(value, Mapping) and value:
      rows += flatten(value, f'{prefix}{name}.')
    else:
      rows.append((prefix + name, value if isinstance(value, str) else json.dumps(value)))
  return rows


def evaluation(summary: Mapping[str, Any]) -> list[Figure]:
  """The shares that were measured before or after training."""
  before, after = summary.get('eval_before') or {}, summary.get('eval_after') or {}
  rows = [Figure(name, meaning, before.get(key), after.get(key)) for key, name, meaning in _FIGURES]
  return [row for row in rows if row.before is not None or row.after is not None]


def _evaluated(summary: Mapping[str, Any]) -> str:
  """What the evaluation table was measured on."""
  before, after = summary.get('eval_before') or {}, summary.get('eval_after') or {}
  last = after or before
  tasks, samples = last.get('n_tasks'), last.get('n_samples')
  words = f'On {tasks or "the"} held-out tasks, '
  if tasks and samples and samples > tasks:
    words += f'{samples / tasks:g} samples each, '
  words += 'the same before and after training.' if before and after else 'once.'
  if lost := last.get('n_unscorable'):
    words += f' {lost} samples of the last evaluation could not be scored and are left out of its means.'
  return words


class _Room(NamedTuple):
  """Bytes that pictures may take, and what the whole would take in one file, where that is known."""

  pictures: int
  whole: int = 0


class _Linked(NamedTuple):
  """Bytes of the pictures that the page wants and has, and what is said of those that lie beside it."""

  needed: int
  spent: int
  words: str


def _html(workdir: pathlib.Path, room: _Room) -> tuple[bytes, _Linked]:
  lines, summary, config = metrics.read(workdir), metrics.read_summary(workdir), _config(workdir)
  chosen = gallery.choose(workdir)
  album = Pictures(from_folder(workdir), room.pictures)
  name = workdir.resolve().name
  pairs = [_pair(pair, album) for pair in chosen.pairs]
  sections = [
    (key, title, rule, _cards(getattr(chosen, key), chosen.siblings, album)) for key, title, rule in _SECTIONS
  ]
  linked = _beside(album, room.whole)
  template = shell.environment().get_template('page.html')
  body = template.render(
    name=name,
    facts=_facts(lines, summary, config, chosen.counts),
    finished=bool(summary),
    steps=len(lines),
    evaluation=evaluation(summary),
    evaluated=_evaluated(summary),
    charts=[charts.draw(chart) for chart in curves.charts(lines)],
    tools=calls.of_run(workdir),
    pairs=pairs,
    sections=[section for section in sections if section[3]],
    config=flatten(config),
    linked=linked,
  )
  html = shell.page(f'{name}, run report', Markup(body), _BESIDE if linked else 'data:')
  return html.encode(), _Linked(album.needed, album.spent, linked)


def _beside(album: Pictures, whole: int) -> str:
  """What is to be known of pictures that are not in the file itself; empty where all are."""
  if not album.dropped:
    return ''
  size = f'{(whole or album.needed) / (1 << 20):.1f} MiB'
  return (
    f'As one file this report would have {size}, of which pictures take {album.needed / (1 << 20):.1f} MiB: '
    f'{album.dropped} of them are shown from the folder images beside it; move both together.'
  )


def _pair(pair: gallery.Pair, album: Pictures) -> dict[str, Any]:
  before, after = pair.before, pair.after
  return {
    'task': before.task,
    'change': (after.reward or 0) - (before.reward or 0),
    'request': request_html(before, album),
    'cards': [
      render(before, album, request=False, label=f'Before, step {before.step}'),
      render(after, album, request=False, label=f'After, step {after.step}'),
    ],
  }


def _cards(
  rollouts: Sequence[Rollout], siblings: Mapping[str, Sequence[Sibling]], album: Pictures
) -> list[Markup]:
  return [render(r, album, siblings=siblings.get(r.id, ())) for r in rollouts]


def _facts(
  lines: Sequence[Mapping[str, Any]],
  summary: Mapping[str, Any],
  config: Mapping[str, Any],
  counts: Mapping[str, int],
) -> list[tuple[str, str]]:
  """What stands under the title."""
  settings = dict(flatten(config))
  seconds = summary.get('seconds') or sum(line.get('time/step') or 0 for line in lines)
  facts = [('steps', f'{summary.get("steps", len(lines)):,}'), ('time', metrics.duration(seconds))]
  if 'params' in summary:
    facts.append(('parameters', _millions(summary['params'])))
  facts.append(('samples', f'{counts["train"]:,}'))
  return facts + [(name, settings[key]) for name, key in _SETTINGS if key in settings]


def _millions(count: float) -> str:
  for size, unit in ((1e9, 'B'), (1e6, 'M'), (1e3, 'k')):
    if count >= size:
      return f'{count / size:.2f} {unit}'
  return f'{count:.0f}'


def _config(workdir: pathlib.Path) -> dict[str, Any]:
  path = workdir / 'config.json'
  if not path.exists():
    return {}
  try:
    return json.loads(path.read_bytes())
  except ValueError as error:
    raise DataError(f'{path} is no JSON; restore it from the run that wrote it.') from error
