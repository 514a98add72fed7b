"""The synchronous engine: requests in, finished samples out; a few device programs per call of `step`.

Where several processes share a mesh, each has an engine: it takes its own requests and gives back their
samples, and all run the same programs (see `rounds`).
"""

import contextlib
import dataclasses
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from llmi_jax.core.errors import DataError, TrainingError
from llmi_jax.sampling import prefill, rounds
from llmi_jax.sampling.places import Places, fetch
from llmi_jax.sampling.programs import programs
from llmi_jax.sampling.request import Piece, Request, Sample
from llmi_jax.sampling.rounds import Agree, Kind, Report, Round
from llmi_jax.sampling.settings import EngineConfig, check
from llmi_jax.sampling.slots import Group, Shape, Slots
from llmi_jax.sampling.state import Beginning, Emitted, Model, Move
from llmi_jax.sampling.state import slots as kept_slots

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
    row_steps: the same, times the rows that there were.
    tokens: sampled.
    prefilled: tokens of prompts.
    waited: row-steps in which a row was idle although a sample waited.
  """

  steps: int = 0
  row_steps: int = 0
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
  ):
    """Compiles nothing yet.

    Args:
      model: functions.
      config: sizes, of all processes together.
      places: where the state lives.
      agree: asks all processes that share the mesh; see `rounds`.

    Raises:
      ConfigError: a size or a sampling choice makes no sense.
      DataError: every token is banned.
    """
    check(config, places)
    self.config, self.counts = config, Counts()
    self.pieces: list[Piece] = []
    self._places, self._agree = places, agree
    self._run, self._axes = programs(model, config, places), model.slots
    banned = np.zeros(config.vocab, bool)
    banned[list(config.banned)] = True
    if banned.all():
      raise DataError('Every token of the vocabulary is banned; leave at least one to draw.')
    self._banned = places.put_whole(jnp.asarray(banned))
    self._stops = places.put_whole(jnp.asarray(config.stops, jnp.int32))
    self._kinds = prefill.kinds(config, model.see is not None)
    self._turn = 0
    self._reset()

  def _reset(self) -> None:
    """The next requests meet the same clock and empty slots, whatever ran before."""
    config, processes = self.config, self._places.processes
    rows = config.rows // processes
    self._slots = Slots(
      Shape(config.shards // processes, rows, config.first_prompts // processes, config.samples)
    )
    self._whole = self._slots.shape
    self._parts: list[list[Emitted]] = [[] for _ in range(rows)]
    self._ages = np.zeros(rows, np.int64)
    self._dropped = np.zeros(rows, bool)
    self._others = False
    self._state = self._run.start()

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

  def step(self, params: Any, span: Span = untimed) -> list[Sample]:
    """Refills free rows, decodes one chunk and returns what ended, in row order.

    `pieces` holds what every row that goes on grew by. With several processes, all call it until none is
    `busy`, also one that has no request.

    Args:
      params: as `Model` wants them.
      span: told when `prefill` and `decode` run.

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
      if now.drop:
        self._state = self._run.drop(self._state, self._places.put_rows(self._dropped))
        self._dropped[:] = False
      if self._fit_rows(now.rows):
        continue
      if now.extend:
        self._keep_more()
        continue
      if now.kind >= 0:
        with span('prefill'):
          self._prefill_some(params, now)
          jax.block_until_ready(self._state.prompts.length)
      self._begin_rows(now)
      if now.decode:
        with span('decode'):
          self._fit_ring(now.oldest)
          finished = self._advance(params, now.hungry)
        self._rest()
        return finished

  def lower(self, params: Any) -> Any:
    """The decoding program, lowered for the state at hand; nothing runs."""
    quota = self._places.put_whole(np.int32(self.config.rows))
    decode: Any = self._run.decode
    return decode.lower(params, self._state, self._banned, self._stops, quota)

  def _rest(self) -> None:
    """Begins anew where nothing is left; with several processes, the next round tells."""
    if not self.busy:
      self._reset()

  def _report(self) -> Report:
    """What there is to do here; pure."""
    slots, waiting = self._slots, list(self._slots.unfilled())
    alive = slots.alive
    starved = slots.starved and slots.shape.prompts * self._places.processes < self.config.most_prompts
    return Report(
      slots.busy,
      starved,
      bool(self._dropped.any()),
      bool(alive),
      slots.begins,
      self._full if slots.hungry else slots.fullest,
      int(self._ages[alive].max()) if alive else 0,
      slots.owes,
      self._kinds.index(prefill.kind_of(waiting[0], self.config)) if waiting else -1,
      [prefill.want(kind, chosen) for kind, chosen in self._chosen(waiting).items()],
    )

  def _chosen(self, waiting: list[Group]) -> dict[Kind, list[list[Group]]]:
    """By kind and shard, the prompts that would go together."""
    alike: dict[Kind, list[Group]] = {kind: [] for kind in self._kinds}
    for group in waiting:
      alike[prefill.kind_of(group, self.config)].append(group)
    shards, most = self._slots.shape.shards, self.config.prompts_together
    return {kind: prefill.together(kind, groups, shards, most) for kind, groups in alike.items()}

  @property
  def _full(self) -> int:
    """Rows of a shard when all are there."""
    return self.config.rows // self.config.shards

  def _fit_rows(self, wanted: int) -> bool:
    """As few rows as hold what is left where nobody waits, all where somebody does; whether that changed."""
    old = self._slots.shape
    have, size = old.rows // old.shards, self.config.packed(wanted)
    packed = size < have
    if packed:
      shape = Shape(old.shards, size * old.shards, size * old.shards, 1)
      self._whole = old if have == self._full else self._whole
    elif wanted > have:
      shape = self._whole
    else:
      return False
    rows, entries = self._slots.move(shape, packed)
    source = np.where(rows < 0, -1, rows + have * np.arange(old.shards)[:, None]).ravel()
    self._parts = [self._parts[row] if row >= 0 else [] for row in source]
    self._ages = np.where(source < 0, 0, self._ages[source])
    self._dropped = np.zeros(len(source), bool)
    move = Move(rows, entries, *self._slots.table())
    self._state = self._run.move(self._state, self._places.put_move(move))
    return True

  def _keep_more(self) -> None:
    slots, processes = self._slots, self._places.processes
    prompts = min(2 * slots.shape.prompts * processes, self.config.most_prompts)
    slots.extend(prompts // processes)
    self._state = self._run.extend(self._state, prompts)

  def _prefill_some(self, params: Any, now: Round) -> None:
    """One program: prompts of the chosen kind, on every process as many as it has."""
    kind = self._kinds[now.kind]
    chosen = self._chosen(list(self._slots.unfilled()))[kind]
    # Few shapes: one prompt per shard, or all that may go together.
    count = 1 if now.most == 1 else self.config.prompts_together
    self._grow_prompts(now.slots)
    filled = [group for own in chosen for group in [*own, *[None] * count][:count]]
    features = next((g.request.features for g in filled if g and kind.sees), None)
    if features is not None:
      features = self._places.put_whole(features)
    chunk = self._places.put_chunk(prefill.chunk_of(filled, kind))
    self._state = self._run.prefill(params, self._state, chunk, features, first=kind.first)
    for group in filter(None, filled):
      took = min(kind.width, len(group.request.tokens) - group.done)
      group.done += took
      self.counts.prefilled += took

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
    self._state = self._run.begin(self._state, self._places.put_beginning(beginning))

  def _grow_prompts(self, slots: int) -> None:
    kept = kept_slots(self._state.prompts.kv, self._axes)
    if slots > kept:
      wanted = self.config.bucket(slots, max(slots, self.config.prompt_slots))
      self._state = self._run.widen(self._state, wanted)

  def _fit_ring(self, oldest: int) -> None:
    """The smallest ring that holds what the next chunk may store; it shrinks only where that saves much."""
    slots = kept_slots(self._state.rows.kv, self._axes)
    wanted = self.config.bucket(
      min(oldest + self.config.chunk, self.config.response_slots), self.config.response_slots
    )
    if wanted > slots or 4 * wanted <= slots:
      self._state = self._run.resize(self._state, wanted)

  def _advance(self, params: Any, hungry: bool) -> list[Sample]:
    config = self.config
    quota = self._places.put_whole(np.int32(max(1, config.rows // 16) if hungry else config.rows))
    self._state, emitted, ran = self._run.decode(params, self._state, self._banned, self._stops, quota)
    emitted, ran, alive = fetch((emitted, ran, self._state.rows.alive))
    steps = int(ran)
    emitted = Emitted(*(column[:steps] for column in emitted))
    self.counts.steps += steps
    self.counts.row_steps += steps * self._slots.shape.rows * self._places.processes
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
