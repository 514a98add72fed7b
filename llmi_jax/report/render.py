"""One rollout as HTML: request, document, results, judges' words, and the reward taken apart.

The same fragment serves reports, viewers and notebooks; `shell.page` puts it into a page.
"""

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from typing import Protocol

from markupsafe import Markup

from llmi_jax.core.task import ImageRule
from llmi_jax.data.rollout import PictureRef, Piece, Rollout
from llmi_jax.report import reward, shell, text, tokens
from llmi_jax.report.pictures import Shown


@dataclasses.dataclass(frozen=True)
class Limits:
  """How much of one rollout is shown; what is left out is said.

  Attributes:
    pieces: of one answer.
    characters: of one answer's texts together.
    text: characters of one text.
    raw: characters of prompt and response as they stand.
  """

  pieces: int = 300
  characters: int = 40_000
  text: int = text.LIMIT
  raw: int = 6_000


class Album(Protocol):
  """Where the addresses of pictures come from."""

  def show(self, ref: PictureRef) -> Shown: ...


_RULES = {'none': 'no image', 'free': 'images as it likes', 'at_least_one': 'at least one image'}


@dataclasses.dataclass(frozen=True)
class Sibling:
  """Another sample of the same group."""

  sample: int
  reward: float | None
  advantage: float
  href: str = ''


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
  pictures: Album,
  *,
  siblings: Sequence[Sibling] = (),
  request: bool = True,
  label: str = '',
  href: str = '',
  limits: Limits = Limits(),
) -> Markup:
  """Renders a rollout: prompt, thoughts, calls with arguments, results and seconds in order; then tokens and
  their log-probs, the judges' words, the reward taken apart and summed again, the advantage and the group.

  Args:
    rollout: what is shown.
    pictures: makes its pictures' addresses.
    siblings: the samples of its group, itself included; none hides the row.
    request: whether the request is shown above the answer.
    label: stands above it, such as `before training`.
    href: where its name leads; itself by default.
    limits: how much is shown.
  """
  taken = reward.shares(rollout.parts)
  answer, left_out = _views(rollout.answer, pictures, limits)
  return Markup(
    shell.environment()
    .get_template('rollout.html')
    .render(
      r=rollout,
      anchor=anchor(rollout),
      href=href or f'#{anchor(rollout)}',
      label=label,
      rule=rule(rollout.image_num),
      request=request_html(rollout, pictures, limits) if request else '',
      limits=limits,
      tokens=tokens.draw(rollout),
      answer=answer,
      left_out=left_out,
      shares=taken,
      total=reward.total(taken),
      agrees=reward.agrees(taken, rollout.reward),
      formula=reward.formula(rollout.parts),
      siblings=siblings,
      group_mean=_mean([s.reward for s in siblings if s.reward is not None]),
    )
  )


def document(rollout: Rollout, pictures: Album) -> Markup:
  """The answer alone, as a reader sees it, without thoughts."""
  pieces = tuple(piece for piece in rollout.answer if piece.kind != 'thought')
  answer, left_out = _views(pieces, pictures, Limits())
  template = shell.environment().get_template('answer.html')
  return Markup(template.render(answer=answer, left_out=left_out, heading=2))


def request_html(rollout: Rollout, pictures: Album, limits: Limits = Limits()) -> Markup:
  """What the task asks."""
  views, left_out = _views(rollout.request, pictures, limits)
  template = shell.environment().get_template('request.html')
  return Markup(template.render(request=views, left_out=left_out))


def anchor(rollout: Rollout) -> str:
  """The id of a rollout's element, the same in every build: its address, or a digest of an odd one."""
  if re.fullmatch(r'[A-Za-z0-9_][\w./:+-]{0,200}', rollout.address, re.ASCII):
    return rollout.address
  return 'r-' + hashlib.sha256(rollout.address.encode('utf-8', 'replace')).hexdigest()[:12]


def rule(image_num: int) -> str:
  """An image rule in words."""
  known = ImageRule.from_image_num(image_num)
  return _RULES.get(known.kind) or f'exactly {known.count} image' + ('s' if known.count > 1 else '')


def _views(pieces: Sequence[Piece], pictures: Album, limits: Limits) -> tuple[list[_View], str]:
  """The pieces that are shown, and a sentence about the others."""
  views = []
  left = limits.characters
  for index, piece in enumerate(pieces):
    if left <= 0 or index >= limits.pieces:
      return views, f'Cut: {index:,} of {len(pieces):,} parts of this answer are shown.'
    limit = min(limits.text, left)
    left -= min(limit, len(piece.text)) + len(piece.params[:limit])
    views.append(_view(piece, limit, pictures))
  return views, ''


def _view(piece: Piece, limit: int, pictures: Album) -> _View:
  asked = text.parameters(piece.params)
  executed = text.parameters(piece.result.executed) if piece.result else []
  return _View(
    piece,
    limit,
    pictures.show(piece.picture) if piece.picture else None,
    tuple(asked),
    tuple(pair for pair in executed if pair not in asked),
  )


def _mean(values: Sequence[float]) -> float | None:
  return sum(values) / len(values) if values else None
