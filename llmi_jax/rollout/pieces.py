"""Cuts a step's rows into micro-batches of like length, so that little of what is computed is padding.

With several processes each keeps its own groups. The plan is a pure function of all processes' lengths, so
that all make the same one: a micro-batch takes equally many groups of each.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from llmi_jax.core.errors import ConfigError
from llmi_jax.rl import aggregate
from llmi_jax.rl.loss import Surrogate
from llmi_jax.rollout.album import Album
from llmi_jax.update.rows import Micro, Rows


@dataclasses.dataclass(frozen=True)
class MicroBatches:
  """How rows are cut.

  Attributes:
    prompts: most per micro-batch and shard; 0: as many as `tokens` allows.
    widths: response lengths that a micro-batch may have, ascending; the last holds the longest response.
    tokens: most per micro-batch and shard, prompts and padding included; 0: no bound. One group always fits.
    prompt: width of prompts, for `tokens`.
    updates: how many updates a step's rows make, one after the other, each with its share of the groups.
    shards: of a process's rows on its devices; a micro-batch has equally many groups on each.
  """

  prompts: int
  widths: tuple[int, ...]
  tokens: int = 0
  prompt: int = 0
  updates: int = 1
  shards: int = 1

  def groups(self, width: int, samples: int, available: int) -> int:
    """How many groups a process puts into a micro-batch of this width."""
    each = -(-available // self.shards)
    if self.prompts:
      each = min(each, self.prompts)
    if self.tokens:
      each = min(each, max(1, self.tokens // (self.prompt + samples * width)))
    return each * self.shards

  def width(self, length: int) -> int:
    """The smallest width that holds responses of this length.

    Raises:
      ConfigError: none does.
    """
    for width in self.widths:
      if length <= width:
        return width
    raise ConfigError(
      f'A response has {length} tokens and optimizer.widths ends at {self.widths[-1]}; '
      'let it end at sampler.tokens.'
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
  """A micro-batch of the plan.

  Attributes:
    groups: [N, g] int, per process the groups that stand in it; -1 is an empty one.
    width: of its responses.
    update: which of the step's updates it belongs to.
  """

  groups: np.ndarray
  width: int
  update: int = 0


def plan(lengths: np.ndarray, settings: MicroBatches) -> tuple[Piece, ...]:
  """Micro-batches of whole groups, update by update, short responses first.

  Args:
    lengths: [N, G, R] int, response lengths of N processes.
    settings: static choices.

  Raises:
    ConfigError: the groups cannot be shared out evenly between updates, or a response is too long.
  """
  _, groups, samples = lengths.shape
  if groups % settings.updates:
    raise ConfigError(
      f'{groups} prompts per step and process cannot make {settings.updates} updates; '
      f'let optimizer.updates divide {groups}.'
    )
  each, made = groups // settings.updates, []
  for update in range(settings.updates):
    longest = lengths[:, update * each : (update + 1) * each].max(-1)
    order = np.argsort(longest, -1, kind='stable')
    ranked = np.take_along_axis(longest, order, -1).max(0)
    own, end = [], each
    while end:
      width = settings.width(int(ranked[end - 1]))
      size = settings.groups(width, samples, each)
      start = max(0, end - size)
      chosen = np.full((len(lengths), size), -1)
      chosen[:, : end - start] = order[:, start:end] + update * each
      own.append(Piece(chosen, width, update))
      end = start
    made += reversed(own)
  return tuple(made)


def totals(rows: Rows, settings: MicroBatches) -> np.ndarray:
  """[U, 2]: live tokens and live rows of each update; sums over processes are the whole step's."""
  parts = np.asarray(rows.mask).reshape(settings.updates, -1, rows.mask.shape[-1])
  return np.array([[float(x) for x in aggregate.totals(part)] for part in parts])


def weights(
  rows: Rows, settings: MicroBatches, surrogate: Surrogate, whole: np.ndarray | None = None
) -> np.ndarray:
  """[P·R, Tr] float32, each token's share of the loss of its update, taken before rows are cut.

  Args:
    rows: this process's.
    settings: static choices.
    surrogate: its aggregation.
    whole: `totals` over all processes; None where there is but one.
  """
  whole = totals(rows, settings) if whole is None else whole
  parts = np.asarray(rows.mask).reshape(settings.updates, -1, rows.mask.shape[-1])
  made = [
    aggregate.token_weights(part, surrogate.aggregation, constant=surrogate.constant, totals=(tokens, live))
    for part, (tokens, live) in zip(parts, whole)
  ]
  return np.concatenate([np.asarray(part) for part in made])


def cut(
  rows: Rows, plan: Sequence[Piece], process: int, weights: np.ndarray, album: Album | None = None
) -> list[Micro]:
  """A process's part of every micro-batch.

  Args:
    rows: of its groups.
    plan: of all processes.
    process: its number.
    weights: of its tokens.
    album: the pictures in its prompts.

  Raises:
    ConfigError: there are pictures and several processes, which would have to agree on their number.
  """
  if album is not None and plan and len(plan[0].groups) > 1:
    raise ConfigError(
      'Updates on requests with pictures run in one process; leave such tasks out or use one process.'
    )
  return [_part(rows, piece, piece.groups[process], weights, album) for piece in plan]


def _part(rows: Rows, piece: Piece, chosen: np.ndarray, weights: np.ndarray, album: Album | None) -> Micro:
  samples, width = len(rows.length) // len(rows.prompt), piece.width
  empty = chosen < 0
  members = (np.maximum(chosen, 0)[:, None] * samples + np.arange(samples)).reshape(-1)
  lost = np.repeat(empty, samples)

  def own(column: np.ndarray) -> np.ndarray:
    taken = column[members, :width] if column.ndim > 1 else column[members]
    return np.where(lost.reshape(-1, *[1] * (taken.ndim - 1)), 0, taken).astype(column.dtype)

  part = Rows(
    prompt=np.where(empty[:, None], 0, rows.prompt[np.maximum(chosen, 0)]).astype(np.int32),
    # Something must stand before the first response token, even of nobody.
    prompt_len=np.where(empty, 1, rows.prompt_len[np.maximum(chosen, 0)]).astype(np.int32),
    tokens=own(rows.tokens),
    length=own(rows.length),
    mask=own(rows.mask),
    logp_sampled=own(rows.logp_sampled),
    advantage=own(rows.advantage),
    seen=None if album is None else album.seen(chosen),
  )
  return Micro(part, own(weights), piece.update)


def micro_batches(
  rows: Rows, settings: MicroBatches, surrogate: Surrogate, album: Album | None = None
) -> list[Micro]:
  """Plan and cut of a single process."""
  lengths = np.asarray(rows.length).reshape(1, len(rows.prompt), -1)
  return cut(rows, plan(lengths, settings), 0, weights(rows, settings, surrogate), album)
