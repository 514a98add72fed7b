"""Token mask and log-probs of a rollout as a strip: the taller a stroke, the less likely the token."""

import dataclasses

import numpy as np
from markupsafe import Markup

from llmi_jax.data.rollout import Rollout

STROKES = 160  # at most; beyond that a stroke is the mean of several tokens
LISTED = 400  # tokens of the listing
_HEIGHT, _TALLEST = 24, 6.0  # units; nats that reach the top


@dataclasses.dataclass(frozen=True)
class Drawn:
  """A strip, what it says in words, and the figures behind it."""

  svg: Markup
  words: str
  listing: str


def draw(rollout: Rollout) -> Drawn | None:
  """Draws the strip; None where there are no tokens."""
  count = rollout.tokens.size
  if not count:
    return None
  mask = rollout.mask if rollout.mask.size else np.ones(count, bool)
  logp = rollout.logp_full
  words = f'{count:,} tokens, {int(mask.sum()):,} trained on, {int((~mask).sum()):,} forced.'
  if mask.any():
    low = int(np.where(mask, logp, np.inf).argmin())
    words += (
      f' Mean log-prob {logp[mask].mean():.3f} at temperature 1, {rollout.logp_sampled[mask].mean():.3f} as '
      f'sampled; the least likely is number {low} with {logp[low]:.2f}.'
    )
  return Drawn(_strip(mask, logp), words, _listing(rollout, mask))


def _strip(mask: np.ndarray, logp: np.ndarray) -> Markup:
  """Strokes of equal numbers of tokens: one path for those trained on, one for those forced."""
  each = -(-mask.size // STROKES)
  paths = {True: '', False: ''}
  strokes = range(0, mask.size, each)
  for x, start in enumerate(strokes):
    part = slice(start, start + each)
    trained = bool(mask[part].any())
    surprise = -logp[part][mask[part]].mean() if trained else 0.0
    tall = 1 + (_HEIGHT - 1) * min(float(surprise) / _TALLEST, 1.0)
    paths[trained] += f'M{x + 0.5:g} {_HEIGHT}V{_HEIGHT - tall:.1f}'
  template = Markup(
    '<svg class="strip" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
    '<path class="trained" d="{}"/><path class="forced" d="{}"/></svg>'
  )
  told = 'Surprise by token, in order' + (f', {each} tokens a stroke' if each > 1 else '')
  return template.format(max(len(strokes), 40), _HEIGHT, told, paths[True], paths[False])


def _listing(rollout: Rollout, mask: np.ndarray) -> str:
  """Number, id, both log-probs and mask of the first tokens."""
  lines = ['number      id   sampled  temp. 1  trained on']
  for i in range(min(mask.size, LISTED)):
    sampled, full = rollout.logp_sampled[i], rollout.logp_full[i]
    lines.append(f'{i:6} {rollout.tokens[i]:7} {sampled:9.3f} {full:8.3f}  {"yes" if mask[i] else "no"}')
  if mask.size > LISTED:
    lines.append(f'Cut: {LISTED:,} of {mask.size:,} tokens are shown; the rollout file has all of them.')
  return '\n'.join(lines)
