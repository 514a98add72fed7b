"""The synchronous engine: requests in, finished samples out; one device program per call of `step`."""

import collections
import dataclasses
from collections.abc import Hashable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from llmi_jax.core.errors import DataError
from llmi_jax.sampling import loop
from llmi_jax.sampling.logits import Sampling


@dataclasses.dataclass(frozen=True)
class EngineConfig:
  """Static sizes of an engine.

  Attributes:
    groups: P, prompts that are decoded together.
    samples: R, rows per prompt.
    prompt_slots: longest prompt, in tokens.
    response_slots: longest response, in tokens.
    chunk: tokens per row between two looks of the host.
    refill: free groups that are waited for before new prompts are prefilled.
    vocab: V.
    width: D.
    stops: token ids that end a response.
    banned: token ids that are never drawn.
    sampling: how tokens are drawn.
    dtype: of hidden states.
  """

  groups: int
  samples: int
  prompt_slots: int
  response_slots: int
  vocab: int
  width: int
  stops: tuple[int, ...]
  banned: tuple[int, ...] = ()
  chunk: int = 16
  refill: int = 1
  sampling: Sampling = Sampling()
  dtype: Any = jnp.float32


@dataclasses.dataclass(frozen=True, eq=False)
class Request:
  """Samples wanted of one prompt.

  Attributes:
    id: the caller's name for it.
    tokens: [T] int32.
    keys: [n] row keys, n ≤ R; one sample each.
    limit: most tokens per response.
  """

  id: Hashable
  tokens: np.ndarray
  keys: jax.Array
  limit: int


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
  """One finished response; arrays are [T].

  Attributes:
    id: the request's.
    sample: index within the request.
    finish: `stop` or `length`.
  """

  id: Hashable
  sample: int
  tokens: np.ndarray
  logp_sampled: np.ndarray
  logp_full: np.ndarray
  finish: Literal['stop', 'length']


class Engine:
  """Fixed slots of P groups × R rows over one set of compiled programs."""

  def __init__(self, model: loop.Model, config: EngineConfig):
    self.config = config
    self._rows = config.groups * config.samples
    self._insert = jax.jit(partial(loop.insert, model), donate_argnums=1)
    self._decode = jax.jit(
      partial(loop.decode, model, steps=config.chunk, sampling=config.sampling), donate_argnums=1
    )
    self._start = jax.jit(partial(loop.start, model, self._rows, config.width, config.dtype))
    banned = np.zeros(config.vocab, bool)
    banned[list(config.banned)] = True
    if banned.all():
      raise DataError('Every token of the vocabulary is banned; leave at least one to draw.')
    self._banned = jnp.asarray(banned)
    self._stops = jnp.asarray(config.stops, jnp.int32)
    self._waiting: collections.deque[Request] = collections.deque()
    self._placed: list[Request | None] = [None] * config.groups
    self._parts: list[list[loop.Emitted]] = [[] for _ in range(self._rows)]
    self._alive = np.zeros(self._rows, bool)
    self._state = self._start()
    self.steps = 0

  @property
  def busy(self) -> bool:
    """Whether anything waits or decodes."""
    return bool(self._waiting) or bool(self._alive.any())

  def submit(self, request: Request) -> None:
    """Queues a request.

    Raises:
      DataError: the prompt is empty or too long, or more samples are wanted than a group has rows.
    """
    config, length = self.config, len(request.tokens)
    if not 0 < length <= config.prompt_slots:
      raise DataError(
        f'Prompt {request.id!r} has {length} tokens; the engine takes 1 to {config.prompt_slots}.'
      )
    if not 0 < request.keys.shape[0] <= config.samples:
      raise DataError(
        f'Prompt {request.id!r} wants {request.keys.shape[0]} samples; a group has {config.samples}.'
      )
    if not 0 < request.limit <= config.response_slots:
      raise DataError(
        f'Prompt {request.id!r} wants {request.limit} tokens; a response has {config.response_slots}.'
      )
    self._waiting.append(request)

  def cancel(self) -> None:
    """Forgets everything that waits or decodes."""
    self._waiting.clear()
    self._placed = [None] * self.config.groups
    self._parts = [[] for _ in range(self._rows)]
    self._alive[:] = False
    self._state = self._start()

  def step(self, params: Any) -> list[Sample]:
    """Refills free groups, decodes one chunk and returns what ended, in row order."""
    self._refill(params)
    if not self._alive.any():
      return []
    self._state, emitted, ran = self._decode(params, self._state, self._banned, self._stops)
    emitted, ran, alive = jax.device_get((emitted, ran, self._state.alive))
    self.steps += int(ran)
    finished = []
    for row in np.flatnonzero(self._alive):
      live = emitted.live[:ran, row]
      self._parts[row].append(loop.Emitted(*(column[:ran, row][live] for column in emitted)))
      if not alive[row]:
        finished.append(self._collect(int(row)))
    self._alive = np.array(alive)
    if not self.busy:
      # The next requests meet the same clock and empty slots, whatever ran before.
      self._state = self._start()
    return finished

  def progress(self) -> dict[Hashable, np.ndarray]:
    """Tokens so far, [t] int32, of each request's first sample if that still decodes, by the request's id."""
    found = {}
    for group, request in enumerate(self._placed):
      row = group * self.config.samples
      if request is not None and self._alive[row]:
        found[request.id] = np.concatenate([np.zeros(0, np.int32), *(p.token for p in self._parts[row])])
    return found

  def _collect(self, row: int) -> Sample:
    group, sample = divmod(row, self.config.samples)
    request = self._placed[group]
    assert request is not None
    token, sampled, full, _ = (np.concatenate(column) for column in zip(*self._parts[row]))
    self._parts[row] = []
    finish = 'stop' if token[-1] in self.config.stops else 'length'
    return Sample(request.id, sample, token, sampled, full, finish)

  def _refill(self, params: Any) -> None:
    config = self.config
    busy = self._alive.reshape(config.groups, config.samples).any(-1)
    free = np.flatnonzero(~busy)
    if not self._waiting or len(free) < min(config.refill, len(self._waiting)):
      return
    tokens = np.zeros((config.groups, config.prompt_slots), np.int32)
    lengths = np.ones(config.groups, np.int32)
    fresh = np.zeros(config.groups, bool)
    limit = np.zeros((config.groups, config.samples), np.int32)
    keys = np.zeros((config.groups, config.samples, 2), np.uint32)
    for group in free[: len(self._waiting)]:
      request = self._waiting.popleft()
      count = request.keys.shape[0]
      self._placed[group] = request
      tokens[group, : len(request.tokens)] = request.tokens
      lengths[group], fresh[group] = len(request.tokens), True
      limit[group, :count] = request.limit
      keys[group, :count] = jax.random.key_data(request.keys)
    wrapped = jax.random.wrap_key_data(jnp.asarray(keys.reshape(-1, 2)), impl='threefry2x32')
    rows = limit.reshape(-1)
    self._state = self._insert(params, self._state, tokens, lengths, fresh, rows, wrapped)
    self._alive |= rows > 0
