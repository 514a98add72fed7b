"""The synchronous engine: requests in, finished samples out; a few device programs per call of `step`.

Where several processes share a mesh, each has an engine: it takes its own requests and gives back their
samples, and all run the same programs (see `rounds`).
"""

import dataclasses
from collections.abc import Hashable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from llmi_jax.core.errors import ConfigError, DataError, TrainingError
from llmi_jax.sampling import loop, rounds
from llmi_jax.sampling.logits import Sampling, check
from llmi_jax.sampling.places import Places, fetch
from llmi_jax.sampling.request import Piece, Request, Sample
from llmi_jax.sampling.rounds import Agree, Kind, Report, Round, Want
from llmi_jax.sampling.slots import Group, Shape, Slots
from llmi_jax.sampling.state import Beginning, Chunk, Emitted, Model, Sizes, start


@dataclasses.dataclass(frozen=True)
class EngineConfig:
  """Static sizes of an engine.

  Attributes:
    rows: B, responses that are decoded together, by all processes.
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

  def __init__(
    self,
    model: Model,
    config: EngineConfig,
    places: Places = Places(),
    agree: Agree = rounds.alone,
    process: int = 0,
  ):
    """Compiles nothing yet.

    Args:
      model: functions.
      config: sizes, of all processes together.
      places: where the state lives.
      agree: asks all processes; see `rounds`.
      process: which of them this is; they share out the shards in order.

    Raises:
      ConfigError: a size or a sampling choice makes no sense.
      DataError: every token is banned.
    """
    _check(config, places)
    self.config, self.counts = config, Counts()
    self.pieces: list[Piece] = []
    self._places, self._agree, self._process = places, agree, process
    self._sees = model.see is not None
    self._compile(model)
    banned = np.zeros(config.vocab, bool)
    banned[list(config.banned)] = True
    if banned.all():
      raise DataError('Every token of the vocabulary is banned; leave at least one to draw.')
    self._banned = places.put_whole(jnp.asarray(banned))
    self._stops = places.put_whole(jnp.asarray(config.stops, jnp.int32))
    self._kinds = self._table()
    self._turn = 0
    self._reset()

  def _compile(self, model: Model) -> None:
    """Makes the programs; each leaves the state where it found it."""
    config, state = self.config, self._places.state()
    same: dict[str, Any] = {} if state is None else {'out_shardings': state}
    ended: dict[str, Any] = {}
    if state is not None:
      ended = {'out_shardings': (state, self._places.emitted(), self._places.whole())}
    self._prefill = jax.jit(partial(loop.prefill, model), donate_argnums=1, static_argnames='first', **same)
    decode = partial(loop.decode, model, steps=config.chunk, sampling=config.sampling)
    self._decode = jax.jit(decode, donate_argnums=1, **ended)
    self._begin = jax.jit(loop.begin, donate_argnums=0, **same)
    self._drop = jax.jit(loop.drop, donate_argnums=0, **same)
    self._extend = jax.jit(loop.extend, static_argnums=1, **same)
    self._widen = jax.jit(loop.widen, static_argnums=1, **same)
    self._resize = jax.jit(loop.resize, static_argnums=1, **same)
    first = partial(self._bucket, 1)
    sizes = Sizes(
      config.shards, config.first_prompts, config.rows, config.samples, config.width, config.dtype
    )
    self._start = jax.jit(
      partial(start, model, sizes, first(config.prompt_slots), first(config.response_slots)), **same
    )

  def _table(self) -> list[Kind]:
    """Every kind of prefill that there can be."""
    most, width, widths = self._most_width, self.config.first_bucket, []
    while width < most:
      widths.append(width)
      width *= 2
    sees = (False, True) if self._sees else (False,)
    return [Kind(first, w, seen) for first in (True, False) for w in [*widths, most] for seen in sees]

  @property
  def _most_width(self) -> int:
    """Of a chunk of prefill."""
    return min(self.config.prefill_tokens, self.config.prompt_slots)

  def _reset(self) -> None:
    """The next requests meet the same clock and empty slots, whatever ran before."""
    config, processes = self.config, self._places.processes
    rows = config.rows // processes
    self._slots = Slots(
      Shape(config.shards // processes, rows, config.first_prompts // processes, config.samples)
    )
    self._parts: list[list[Emitted]] = [[] for _ in range(rows)]
    self._ages = np.zeros(rows, np.int64)
    self._dropped = np.zeros(rows, bool)
    self._others = False
    self._state = self._start()

  @property
  def busy(self) -> bool:
    """Whether anything waits or decodes here, or may elsewhere."""
    return self._slots.busy or self._others

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
    for row in self._slots.forget(id):
      self._dropped[row] = True
      self._parts[row] = []
    self._rest()

  def step(self, params: Any) -> list[Sample]:
    """Refills free rows, decodes one chunk and returns what ended, in row order.

    `pieces` holds what every row that goes on grew by. With several processes, all call it until none is
    `busy`, also one that has no request.

    Raises:
      TrainingError: logits are not numbers; names request, sample and token.
    """
    self.pieces = []
    while True:
      self._slots.admit()
      now = rounds.decide(self._agree(self._report().numbers()), self._turn)
      self._turn += 1
      if now.over:
        self._reset()
        return []
      self._others = self._places.processes > 1
      if now.extend:
        self._keep_more()
        continue
      if now.drop:
        self._state = self._drop(self._state, self._places.put_rows(self._dropped))
        self._dropped[:] = False
      if now.kind >= 0:
        self._prefill_some(params, now)
      self._begin_rows(now)
      if now.decode:
        self._fit_ring(now.oldest)
        finished = self._advance(params, now.hungry)
        self._rest()
        return finished

  def lower(self, params: Any) -> Any:
    """The decoding program, lowered for the state at hand; nothing runs."""
    quota = self._places.put_whole(np.int32(self.config.rows))
    return self._decode.lower(params, self._state, self._banned, self._stops, quota)

  def _rest(self) -> None:
    """Begins anew where nothing is left; with several processes, the next round tells."""
    if not self.busy:
      self._reset()

  def _report(self) -> Report:
    """What there is to do here; pure."""
    slots, table = self._slots, {kind: i for i, kind in enumerate(self._kinds)}
    waiting: dict[Kind, list[Group]] = {}
    for group in slots.unfilled():
      waiting.setdefault(self._kind(group), []).append(group)
    alive = slots.alive
    starved = slots.starved and slots.shape.prompts * self._places.processes < self.config.most_prompts
    return Report(
      slots.busy,
      starved,
      bool(self._dropped.any()),
      bool(alive),
      slots.begins,
      int(self._ages[alive].max()) if alive else 0,
      slots.owes,
      table[next(iter(waiting))] if waiting else -1,
      [self._want(kind, waiting.get(kind, [])) for kind in self._kinds],
    )

  def _want(self, kind: Kind, groups: list[Group]) -> Want:
    chosen = self._together(kind, groups)
    whole = any(len(g.request.tokens) - g.done <= kind.width for own in chosen for g in own)
    if not groups:
      return Want()
    return Want(max(map(len, chosen)), max(g.done for own in chosen for g in own) + kind.width, whole)

  def _together(self, kind: Kind, groups: list[Group]) -> list[list[Group]]:
    """Prompts of a kind that go together, by shard."""
    groups = groups[:1] if kind.sees else groups
    most = self._per_shard
    return [[g for g in groups if g.shard == s][:most] for s in range(self._slots.shape.shards)]

  @property
  def _per_shard(self) -> int:
    return max(1, self.config.prefill_prompts // self.config.shards)

  def _keep_more(self) -> None:
    slots, processes = self._slots, self._places.processes
    prompts = min(2 * slots.shape.prompts * processes, self.config.most_prompts)
    slots.extend(prompts // processes)
    self._state = self._extend(self._state, prompts)

  def _prefill_some(self, params: Any, now: Round) -> None:
    """One program: prompts of the chosen kind, on every process as many as it has."""
    kind = self._kinds[now.kind]
    chosen = self._together(kind, [g for g in self._slots.unfilled() if self._kind(g) == kind])
    # Few shapes: one prompt per shard, or all that may go together.
    count = 1 if now.most == 1 else self._per_shard
    self._grow_prompts(now.slots)
    filled = [group for own in chosen for group in [*own, *[None] * count][:count]]
    features = next((g.request.features for g in filled if g and kind.sees), None)
    if features is not None:
      features = self._places.put_whole(features)
    chunk = self._places.put_chunk(_chunk(filled, kind))
    self._state = self._prefill(params, self._state, chunk, features, first=kind.first)
    for group in filter(None, filled):
      took = min(kind.width, len(group.request.tokens) - group.done)
      group.done += took
      self.counts.prefilled += took

  def _kind(self, group: Group) -> Kind:
    left, most = len(group.request.tokens) - group.done, self._most_width
    width = most if left >= most else self._bucket(left, most)
    return Kind(group.done == 0, width, group.request.features is not None)

  def _begin_rows(self, now: Round) -> None:
    """Lets rows begin; the program runs wherever it may be needed."""
    begun = self._slots.begin()
    if not begun and (self._places.processes == 1 or not now.begin):
      return
    rows = len(self._ages)
    fresh, entry = np.zeros(rows, bool), np.zeros(rows, np.int32)
    limit, keys = np.zeros(rows, np.int32), np.zeros((rows, 2), np.uint32)
    for group, sample, row in begun:
      fresh[row], entry[row] = True, group.entry
      limit[row] = np.broadcast_to(group.request.limit, group.samples)[sample]
      keys[row] = group.keys[sample]
      self._ages[row] = 0
    beginning = Beginning(fresh, entry, limit, keys, *self._slots.table())
    self._state = self._begin(self._state, self._places.put_beginning(beginning))

  def _grow_prompts(self, slots: int) -> None:
    kept = jax.tree.leaves(self._state.prompts.kv)[0].shape[2]
    if slots > kept:
      self._state = self._widen(self._state, self._bucket(slots, max(slots, self.config.prompt_slots)))

  def _fit_ring(self, oldest: int) -> None:
    """The smallest ring that holds what the next chunk may store; it shrinks only where that saves much."""
    slots = jax.tree.leaves(self._state.rows.kv)[0].shape[2]
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

  def _advance(self, params: Any, hungry: bool) -> list[Sample]:
    config = self.config
    quota = self._places.put_whole(np.int32(max(1, config.rows // 16) if hungry else config.rows))
    self._state, emitted, ran = self._decode(params, self._state, self._banned, self._stops, quota)
    emitted, ran, alive = fetch((emitted, ran, self._state.rows.alive))
    steps = int(ran)
    emitted = Emitted(*(column[:steps] for column in emitted))
    self.counts.steps += steps
    self.counts.tokens += int(emitted.live.sum())
    self.counts.waited += int((~emitted.live).sum()) if self._slots.hungry else 0
    self._refuse_nonsense(emitted)
    finished = []
    for row in self._slots.alive:
      live = emitted.live[:, row]
      self._parts[row].append(Emitted(*(column[:, row][live] for column in emitted)))
      self._ages[row] += steps
      sample, cut = self._grown(row, bool(alive[row]))
      self._dropped[row] |= cut
      if sample is not None:
        finished.append(sample)
        self._parts[row] = []
        self._slots.end(row)
    return finished

  def _refuse_nonsense(self, emitted: Emitted) -> None:
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


def _chunk(groups: list[Group | None], kind: Kind) -> Chunk:
  """The next tokens of each group's prompt; None stands for nothing."""
  count, width = len(groups), kind.width
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
  seen = rows if kind.sees else None
  return Chunk(tokens, positions if kind.sees else positions[0], start, length, entry, following, seen)


def _check(config: EngineConfig, places: Places) -> None:
  """Refuses sizes that do not fit each other."""
  check(config.sampling)
  if min(config.rows, config.samples, config.chunk, config.prefill_tokens, config.prefill_prompts) < 1:
    raise ConfigError(f'An engine needs at least one row, sample and token per look; it has {config}.')
  if places.mesh is not None and places.shards != config.shards:
    raise ConfigError(f'The mesh cuts rows into {places.shards} shards and the engine into {config.shards}.')
  if config.rows % config.shards or config.samples > config.rows // config.shards:
    raise ConfigError(
      f'{config.rows} rows in {config.shards} shards do not hold {config.samples} samples of a prompt; '
      'raise sampler.rows.'
    )
