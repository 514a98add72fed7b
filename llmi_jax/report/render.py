"""One rollout as HTML: request, document, results, judges' words, and the reward taken apart.

The same fragment serves reports, viewers and notebooks; `shell.page` puts it into a page.
"""

import dataclasses
import hashlib
from collections.abc import Sequence

from markupsafe import Markup

from llmi_jax.core.task import ImageRule
from llmi_jax.data.rollout import Piece, Rollout
from llmi_jax.report import reward, shell, text
from llmi_jax.report.pictures import Pictures, Shown

PIECES = 300  # of one answer; what is left out is said
CHARACTERS = 40_000  # of one answer's texts together

_RULES = {'none': 'no image', 'free': 'images as it likes', 'at_least_one': 'at least one image'}


@dataclasses.dataclass(frozen=True)
class Sibling:
  """Another sample of the same group."""

  sample: int
  reward: float | None
  advantage: float


@dataclasses.dataclass(frozen=True)
class _View:
  """A piece and what a template shows of it."""

  piece: Piece
  limit: int
  shown: Shown | None
  asked: tuple[tuple[str, str], ...]
  changed: tuple[tuple[str, str], ...]


def render(
  rollout: Rollout,
  pictures: Pictures,
  *,
  siblings: Sequence[Sibling] = (),
  request: bool = True,
  label: str = '',
) -> Markup:
  """Renders a rollout.

  Args:
    rollout: what is shown.
    pictures: makes its pictures' addresses.
    siblings: the samples of its group, itself included; none hides the row.
    request: whether the request is shown above the answer.
    label: stands above it, such as `before training`.
  """
  taken = reward.shares(rollout.parts)
  answer, left_out = _views(rollout.answer, pictures)
  return Markup(
    shell.environment()
    .get_template('rollout.html')
    .render(
      r=rollout,
      anchor=anchor(rollout),
      label=label,
      rule=rule(rollout.image_num),
      request=request_html(rollout, pictures) if request else '',
      answer=answer,
      left_out=left_out,
      shares=taken,
      total=reward.total(taken),
      agrees=reward.agrees(taken, rollout.reward),
      formula=reward.formula(rollout.parts),
      siblings=siblings,
      group_mean=_mean([s.reward for s in siblings if s.reward is not None]),
      mean_logp=_mean_logp(rollout),
    )
  )


def document(rollout: Rollout, pictures: Pictures) -> Markup:
  """The answer alone, as a reader sees it, without thoughts."""
  pieces = tuple(piece for piece in rollout.answer if piece.kind != 'thought')
  answer, left_out = _views(pieces, pictures)
  template = shell.environment().get_template('answer.html')
  return Markup(template.render(answer=answer, left_out=left_out, heading=2))


def request_html(rollout: Rollout, pictures: Pictures) -> Markup:
  """What the task asks."""
  views, left_out = _views(rollout.request, pictures)
  template = shell.environment().get_template('request.html')
  return Markup(template.render(request=views, left_out=left_out))


def anchor(rollout: Rollout) -> str:
  """The id of a rollout's element, the same in every build of a report."""
  return 'r-' + hashlib.sha256(rollout.id.encode('utf-8', 'replace')).hexdigest()[:12]


def rule(image_num: int) -> str:
  """An image rule in words."""
  known = ImageRule.from_image_num(image_num)
  return _RULES.get(known.kind) or f'exactly {known.count} image' + ('s' if known.count > 1 else '')


def _views(pieces: Sequence[Piece], pictures: Pictures) -> tuple[list[_View], str]:
  """The pieces that are shown, and a sentence about the others."""
  views = []
  left = CHARACTERS
  for index, piece in enumerate(pieces):
    if left <= 0 or index >= PIECES:
      return views, f'Cut: {index:,} of {len(pieces):,} parts of this answer are shown.'
    limit = min(text.LIMIT, left)
    left -= min(limit, len(piece.text)) + len(piece.params[:limit])
    views.append(_view(piece, limit, pictures))
  return views, ''


def _view(piece: Piece, limit: int, pictures: Pictures) -> _View:
  asked = text.parameters(piece.params)
  executed = text.parameters(piece.result.executed) if piece.result else []
  return _View(
    piece,
    limit,
    pictures.show(piece.picture) if piece.picture else None,
    tuple(asked),
    tuple(pair for pair in executed if pair not in asked),
  )


def _mean_logp(rollout: Rollout) -> float | None:
  sampled = rollout.logp_full[rollout.mask] if rollout.mask.size else rollout.logp_full
  return _mean(sampled.tolist())


def _mean(values: Sequence[float]) -> float | None:
  return sum(values) / len(values) if values else None
