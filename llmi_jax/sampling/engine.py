"""The synchronous engine: requests in, finished samples out; a few device programs per call of `step`."""

import contextlib
import dataclasses
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from llmi_jax.core.errors import ConfigError, DataError, TrainingError
from llmi_jax.sampling import loop
from llmi_jax.sampling.logits import Sampling, check
from llmi_jax.sampling.request import Piece, Request, Sample
from llmi_jax.sampling.slots import Group, Shape, Slots


@dataclasses.dataclass(frozen=True)
class EngineConfig:
  """Static sizes of an engine.

  Attributes:
    rows: B, responses that are decoded together.
    samples: R, most responses of one prompt among them.
    prompt_slots: longest prompt, in tokens.
    response_slots: longest response, in tokens.
    vocab: V.
    width: D.
    stops: token ids that end a response.
    banned: token ids that are never drawn.
    prompts: most prompts that are kept; 0 takes three times what rows ask for, since the last response of a
      prompt outlives the others. It begins with what rows ask for.
    chunk: most tokens per row between two looks of the host.
    prefill_tokens: most tokens of a prompt that are prefilled between two looks.
    prefill_prompts: prompts that are prefilled together.
    first_bucket: least slots of prompts and of responses; more are doubled as they are needed.
    sampling: how tokens are drawn.
    dtype: of hidden states.
    shards: J, pieces of the mesh's data axes.
  """

  rows: int
  samples: int
  prompt_slots: int
  response_slots: int
  vocab: int
  width: int
  stops: tuple[int, ...]
  banned: tuple[int, ...] = ()
  prompts: int = 0
  chunk: int = 16
  prefill_tokens: int = 1024
  prefill_prompts: int = 8
  first_bucket: int = 128
  sampling: Sampling = Sampling()
  dtype: Any = jnp.float32
  shards: int = 1

  @property
  def first_prompts(self) -> int:
    """P at first, a multiple of the shards."""
    wanted = -(-self.rows // self.samples)
    return -(-min(wanted, self.prompts or wanted) // self.shards) * self.shards

  @property
  def most_prompts(self) -> int:
    """P at most, likewise."""
    return -(-(self.prompts or 3 * self.first_prompts) // self.shards) * self.shards


Span = Callable[[str], contextlib.AbstractContextManager[None]]


def untimed(kind: str) -> contextlib.AbstractContextManager[None]:
  """A `Span` that notes nothing."""
  del kind
  return contextlib.nullcontext()


@dataclasses.dataclass
class Counts:
  """What an engine has done.

  Attributes:
    steps: decoding steps of all rows together.
    tokens: sampled.
    prefilled: tokens of prompts.
    waited: row-steps in which a row was idle although a sample waited.
  """

  steps: int = 0
  tokens: int = 0
  prefilled: int = 0
  waited: int = 0


class Engine:
  """Fixed rows over one set of compiled programs."""

  def __init__(self, model: loop.Model, config: EngineConfig):
    """Compiles nothing yet.

    Raises:
      ConfigError: a size or a sampling choice makes no sense.
      DataError: every token is banned.
    """
    check(config.sampling)
    if min(config.rows, config.samples, config.chunk, config.prefill_tokens, config.prefill_prompts) < 1:
      raise ConfigError(f'An engine needs at least one row, sample and token per look; it has {config}.')
    if config.rows % config.shards or config.samples > config.rows // config.shards:
      raise ConfigError(
        f'{config.rows} rows in {config.shards} shards do not hold {config.samples} samples of a prompt; '
        'raise sampler.rows.'
      )
    self.config, self.counts = config, Counts()
    self.pieces: list[Piece] = []
    self._prefill = jax.jit(partial(loop.prefill, model), donate_argnums=1, static_argnames='first')
    self._decode = jax.jit(
      partial(loop.decode, model, steps=config.chunk, sampling=config.sampling), donate_argnums=1
    )
    self._begin = jax.jit(loop.begin, donate_argnums=0)
    self._drop = jax.jit(loop.drop, donate_argnums=0)
    self._extend = jax.jit(loop.extend, static_argnums=1)
    self._widen = jax.jit(loop.widen, static_argnums=1)
    self._resize = jax.jit(loop.resize, static_argnums=1)
    sizes = loop.Sizes(
      config.shards, config.first_prompts, config.rows, config.samples, config.width, config.dtype
    )
    first = partial(self._bucket, 1)
    self._start = jax.jit(
      partial(loop.start, model, sizes, first(config.prompt_slots), first(config.response_slots))
    )
    banned = np.zeros(config.vocab, bool)
    banned[list(config.banned)] = True
    if banned.all():
      raise DataError('Every token of the vocabulary is banned; leave at least one to draw.')
    self._banned = jnp.asarray(banned)
    self._stops = jnp.asarray(config.stops, jnp.int32)
    self._reset()

  def _reset(self) -> None:
    """The next requests meet the same clock and empty slots, whatever ran before."""
    config = self.config
    self._slots = Slots(Shape(config.shards, config.rows, config.first_prompts, config.samples))
    self._parts: list[list[loop.Emitted]] = [[] for _ in range(config.rows)]
    self._ages = np.zeros(config.rows, np.int64)
    self._state = self._start()

  @property
  def busy(self) -> bool:
    """Whether anything waits or decodes."""
    return self._slots.busy

  @property
  def compiled(self) -> int:
    """Programs compiled so far, one per combination of shapes."""
    kinds: tuple[Any, ...] = (self._prefill, self._decode, self._begin, self._drop, self._extend)
    kinds += (self._widen, self._resize)
    return sum(kind._cache_size() for kind in kinds)

  def submit(self, request: Request) -> None:
    """Queues a request.

    Raises:
      DataError: the prompt is empty or too long, no sample is wanted, or the limit is out of range.
    """
    config, length = self.config, len(request.tokens)
    if not 0 < length <= config.prompt_slots:
      raise DataError(
        f'Prompt {request.id!r} has {length} tokens; the engine takes 1 to {config.prompt_slots}.'
      )
    if not request.keys.shape[0]:
      raise DataError(f'Prompt {request.id!r} wants 0 samples; ask for one or more.')
    keys = np.asarray(jax.random.key_data(request.keys))
    limits = np.broadcast_to(request.limit, len(keys))
    if not 0 < limits.min() <= limits.max() <= config.response_slots:
      raise DataError(
        f'Prompt {request.id!r} wants {request.limit} tokens; a response has {config.response_slots}.'
      )
    self._slots.waiting.append(Group(request.id, request, keys, len(keys)))

  def cancel(self, id: Hashable = None) -> None:
    """Forgets one request, or everything that waits or decodes."""
    if id is None:
      self._reset()
      return
    mask = np.zeros(self.config.rows, bool)
    for row in self._slots.forget(id):
      mask[row] = True
      self._parts[row] = []
    if not self.busy:
      self._reset()
    elif mask.any():
      self._state = self._drop(self._state, mask)

  def step(self, params: Any, span: Span = untimed) -> list[Sample]:
    """Refills free rows, decodes one chunk and returns what ended, in row order.

    `pieces` holds what every row that goes on grew by.

    Args:
      params: as `Model` wants them.
      span: told when `prefill` and `decode` run.

    Raises:
      TrainingError: logits are not numbers; names request, sample and token.
    """
    self.pieces = []
    self._fill(params, span)
    if not self._slots.alive:
      return []
    with span('decode'):
      self._fit_ring()
      finished = self._advance(params)
    if not self.busy:
      self._reset()
    return finished

  def _fill(self, params: Any, span: Span) -> None:
    """Prefills one bounded chunk beside decoding rows, or all that rows need where none decodes."""
    slots = self._slots
    while True:
      slots.admit()
      if slots.starved and slots.shape.prompts < self.config.most_prompts:
        slots.extend(min(2 * slots.shape.prompts, self.config.most_prompts))
        self._state = self._extend(self._state, slots.shape.prompts)
        slots.admit()
      if any(slots.unfilled()):
        with span('prefill'):
          self._prefill_some(params)
          jax.block_until_ready(self._state.prompts.length)
      self._begin_rows()
      if slots.alive or not slots.busy:
        return

  def _prefill_some(self, params: Any) -> None:
    """One program: the oldest prompt that waits, and others with equal buckets beside it."""
    config, waiting = self.config, list(self._slots.unfilled())
    kind = self._kind(waiting[0])
    alike = [g for g in waiting if self._kind(g) == kind and (g is waiting[0] or kind[2] is None)]
    # A later chunk reads a copy of what its prompt left before: one prompt's at a time.
    per_shard = max(1, config.prefill_prompts // config.shards) if kind[0] else 1
    chosen = [[g for g in alike if g.shard == s][:per_shard] for s in range(config.shards)]
    # Few shapes: one prompt per shard, or all that may go together.
    count = 1 if max(map(len, chosen)) == 1 else per_shard
    self._grow_prompts(max(g.done for own in chosen for g in own) + kind[1])
    filled = [group for own in chosen for group in [*own, *[None] * count][:count]]
    chunk = _chunk(filled, kind[1])
    self._state = self._prefill(params, self._state, chunk, waiting[0].request.features, first=kind[0])
    for group in filter(None, filled):
      took = min(kind[1], len(group.request.tokens) - group.done)
      group.done += took
      self.counts.prefilled += took

  def _kind(self, group: Group) -> tuple[bool, int, int | None]:
    """What prompts of one program share: whether it is their first chunk, its width, their pictures."""
    left = len(group.request.tokens) - group.done
    most = min(self.config.prefill_tokens, self._bucket(self.config.prompt_slots, self.config.prompt_slots))
    width = most if left >= most else self._bucket(left, most)
    return group.done == 0, width, None if group.request.features is None else id(group)

  def _begin_rows(self) -> None:
    begun = self._slots.begin()
    if not begun:
      return
    rows = self.config.rows
    fresh, entry = np.zeros(rows, bool), np.zeros(rows, np.int32)
    limit, keys = np.zeros(rows, np.int32), np.zeros((rows, 2), np.uint32)
    for group, sample, row in begun:
      fresh[row], entry[row] = True, group.entry
      limit[row] = np.broadcast_to(group.request.limit, group.samples)[sample]
      keys[row] = group.keys[sample]
      self._ages[row] = 0
    table, place = self._slots.table()
    self._state = self._begin(self._state, loop.Beginning(fresh, entry, limit, keys, table, place))

  def _grow_prompts(self, slots: int) -> None:
    kept = jax.tree.leaves(self._state.prompts.kv)[0].shape[2]
    if slots > kept:
      self._state = self._widen(self._state, self._bucket(slots, max(slots, self.config.prompt_slots)))

  def _fit_ring(self) -> None:
    """The smallest ring that holds what the next chunk may store; it shrinks only where that saves much."""
    slots = jax.tree.leaves(self._state.rows.kv)[0].shape[2]
    oldest = int(self._ages[self._slots.alive].max())
    wanted = self._bucket(
      min(oldest + self.config.chunk, self.config.response_slots), self.config.response_slots
    )
    if wanted > slots or 4 * wanted <= slots:
      self._state = self._resize(self._state, wanted)

  def _bucket(self, count: int, most: int) -> int:
    """The smallest of `first_bucket`, twice, four times … that holds `count`, at most `most`."""
    size = self.config.first_bucket
    while size < count:
      size *= 2
    return min(size, most)

  def _advance(self, params: Any) -> list[Sample]:
    config = self.config
    quota = max(1, config.rows // 16) if self._slots.hungry else config.rows
    self._state, emitted, ran = self._decode(params, self._state, self._banned, self._stops, np.int32(quota))
    emitted, ran, alive = jax.device_get((emitted, ran, self._state.rows.alive))
    steps = int(ran)
    emitted = loop.Emitted(*(column[:steps] for column in emitted))
    self.counts.steps += steps
    self.counts.tokens += int(emitted.live.sum())
    self.counts.waited += int((~emitted.live).sum()) if self._slots.hungry else 0
    self._refuse_nonsense(emitted)
    finished, dropped = [], np.zeros(config.rows, bool)
    for row in self._slots.alive:
      live = emitted.live[:, row]
      self._parts[row].append(loop.Emitted(*(column[:, row][live] for column in emitted)))
      self._ages[row] += steps
      sample, cut = self._grown(row, bool(alive[row]))
      dropped[row] = cut
      if sample is not None:
        finished.append(sample)
        self._parts[row] = []
        self._slots.end(row)
    if dropped.any():
      self._state = self._drop(self._state, dropped)
    return finished

  def _refuse_nonsense(self, emitted: loop.Emitted) -> None:
    bad = emitted.live & ~emitted.sound
    if not bad.any():
      return
    step, row = np.argwhere(bad)[0]
    owner = self._slots.owner[row]
    assert owner is not None
    token = self._ages[row] + int(emitted.live[:step, row].sum())
    raise TrainingError(
      f'The logits of token {token} of prompt {owner[0].id!r}, sample {owner[1]}, are not numbers; '
      'the parameters are broken, or overflow in their dtype.'
    )

  def _grown(self, row: int, alive: bool) -> tuple[Sample | None, bool]:
    """The row's sample if it has ended, and whether a stop string ended it while the device goes on."""
    owner = self._slots.owner[row]
    assert owner is not None
    group, sample = owner
    keep = None
    if group.request.stop is not None:
      keep = group.request.stop(np.concatenate([part.token for part in self._parts[row]]))
    if alive and keep is None:
      self.pieces.append(Piece(group.id, sample, np.asarray(self._parts[row][-1].token)))
      return None, False
    token, sampled, full, *_ = (np.concatenate(column)[:keep] for column in zip(*self._parts[row]))
    stopped = keep is not None or token[-1] in self.config.stops
    return Sample(group.id, sample, token, sampled, full, 'stop' if stopped else 'length'), alive


def _chunk(groups: list[Group | None], width: int) -> loop.Chunk:
  """The next `width` tokens of each group's prompt; None stands for nothing."""
  count = len(groups)
  tokens, rows = np.zeros((count, width), np.int32), np.full((count, width), -1, np.int32)
  positions = np.zeros((3, count, width), np.int32)
  start, length, entry, following = np.zeros((4, count), np.int32)
  for i, group in enumerate(groups):
    if group is None:
      continue
    request, piece = group.request, slice(group.done, group.done + width)
    own = request.tokens[piece]
    start[i], length[i], entry[i] = group.done, len(own), group.entry
    tokens[i, : len(own)] = own
    positions[:, i] = group.done + np.arange(width)
    if request.positions is not None:
      positions[:, i, : len(own)] = request.positions[:, piece]
    if request.rows is not None:
      rows[i, : len(own)] = request.rows[piece]
    following[i] = len(request.tokens) if request.next is None else request.next
  seeing = any(g is not None and g.request.features is not None for g in groups)
  return loop.Chunk(
    tokens, positions if seeing else positions[0], start, length, entry, following, rows if seeing else None
  )
