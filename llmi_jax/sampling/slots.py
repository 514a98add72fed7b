"""Which prompt is kept where and which row continues it: a function of requests and tokens alone.

A group (a prompt and its samples) is admitted to a shard with a free entry, prefilled chunk by chunk, and
begins its samples one by one as rows of that shard get free. Its entry is free again when the last one has
ended. So a row that ends is refilled at once, by whichever group is next. Once nobody is next, what is left
may be packed: rows move to the front of fewer, each with a copy of its prompt.
"""

import collections
import dataclasses
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np


@dataclasses.dataclass(eq=False)
class Group:
  """A request on its way.

  Attributes:
    id: the caller's name for it.
    request: what is wanted.
    keys: [n, 2] uint32, a row key's data for each sample.
    samples: how many are wanted.
    shard: where it lives.
    entry: where its prompt is kept, counted within the shard.
    done: tokens of the prompt that are prefilled.
    begun: samples that have a row or had one.
    rows: sample → row, of those under way.
  """

  id: Hashable
  request: Any
  keys: np.ndarray
  samples: int
  shard: int = -1
  entry: int = -1
  done: int = 0
  begun: int = 0
  rows: dict[int, int] = dataclasses.field(default_factory=dict)

  @property
  def ready(self) -> bool:
    return self.done >= len(self.request.tokens)

  @property
  def over(self) -> bool:
    return self.begun == self.samples and not self.rows


@dataclasses.dataclass(frozen=True)
class Shape:
  """Of the slots.

  Attributes:
    shards: J.
    rows: B.
    prompts: P.
    samples: R, most rows of one group at a time.
  """

  shards: int
  rows: int
  prompts: int
  samples: int


class Slots:
  """The schedule."""

  def __init__(self, shape: Shape):
    self.shape = shape
    self.waiting: collections.deque[Group] = collections.deque()
    self.admitted: list[Group] = []
    self.owner: list[tuple[Group, int] | None] = [None] * shape.rows
    self._entries = np.zeros((shape.shards, shape.prompts // shape.shards), bool)
    self._packed = False

  @property
  def busy(self) -> bool:
    return bool(self.waiting or self.admitted)

  @property
  def alive(self) -> list[int]:
    """Rows under way."""
    return [row for row, owner in enumerate(self.owner) if owner is not None]

  @property
  def hungry(self) -> bool:
    """Whether a row that ends would find another sample to begin."""
    return bool(self.waiting) or any(group.begun < group.samples for group in self.admitted)

  @property
  def begins(self) -> bool:
    """Whether `begin` would give a row to a sample."""
    ready = (g for g in self.admitted if g.ready and g.begun < g.samples)
    return any(len(g.rows) < self.shape.samples and self._free_rows(g.shard) for g in ready)

  @property
  def owes(self) -> bool:
    """Whether samples would be left if every free row began one."""
    shards = range(self.shape.shards)
    owed = [sum(g.samples - g.begun for g in self.admitted if g.shard == s) for s in shards]
    return bool(self.waiting) or any(owed[s] > len(self._free_rows(s)) for s in shards)

  @property
  def fullest(self) -> int:
    """Rows under way in the shard that has most of them."""
    return int(np.bincount([group.shard for group in self.admitted for _ in group.rows], minlength=1).max())

  @property
  def starved(self) -> bool:
    """Whether rows idle because every entry of their shard is taken by a prompt with none to begin."""
    if not self.waiting or self._packed:
      return False
    for shard in range(self.shape.shards):
      owed = sum(group.samples - group.begun for group in self.admitted if group.shard == shard)
      if self._entries[shard].all() and owed < len(self._free_rows(shard)):
        return True
    return False

  def extend(self, prompts: int) -> None:
    """Gives every shard more entries, behind those it has; P becomes `prompts`."""
    more = prompts // self.shape.shards - self._entries.shape[1]
    self._entries = np.pad(self._entries, ((0, 0), (0, more)))
    self.shape = dataclasses.replace(self.shape, prompts=prompts)

  def admit(self, ahead: int = 1) -> None:
    """Gives waiting groups an entry: as many as free rows ask for, and `ahead` more per shard.

    Args:
      ahead: groups per shard that are prefilled before a row is free for them.
    """
    if self._packed:
      return
    shards = range(self.shape.shards)
    owed = [sum(g.samples - g.begun for g in self.admitted if g.shard == s) for s in shards]
    unbegun = [sum(g.begun == 0 for g in self.admitted if g.shard == s) for s in shards]
    free = [len(self._free_rows(s)) for s in shards]
    while self.waiting:
      open_ = [s for s in shards if not self._entries[s].all() and (owed[s] < free[s] or unbegun[s] < ahead)]
      if not open_:
        return
      shard = max(open_, key=lambda s: (free[s] - owed[s], -s))
      group = self.waiting.popleft()
      group.shard, group.entry = shard, int(np.flatnonzero(~self._entries[shard])[0])
      self._entries[shard, group.entry] = True
      self.admitted.append(group)
      owed[shard] += group.samples
      unbegun[shard] += 1

  def begin(self) -> list[tuple[Group, int, int]]:
    """Gives free rows to samples of ready groups, oldest first: (group, sample, row)."""
    begun = []
    for group in self.admitted:
      if not group.ready:
        continue
      for row in self._free_rows(group.shard):
        if group.begun == group.samples or len(group.rows) == self.shape.samples:
          break
        self.owner[row] = group, group.begun
        group.rows[group.begun] = row
        begun.append((group, group.begun, row))
        group.begun += 1
    return begun

  def end(self, row: int) -> None:
    """A row has ended."""
    owner = self.owner[row]
    assert owner is not None
    group, sample = owner
    self.owner[row] = None
    del group.rows[sample]
    self._release()

  def forget(self, id: Hashable) -> list[int]:
    """Takes a request back: what waits is gone, and the rows under way are returned to be dropped."""
    self.waiting = collections.deque(group for group in self.waiting if group.id != id)
    rows = []
    for group in self.admitted:
      if group.id == id:
        rows += group.rows.values()
        group.samples = group.begun
        group.done = len(group.request.tokens)
    for row in rows:
      self.end(row)
    self._release()
    return sorted(rows)

  def move(self, shape: Shape, packed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Takes the rows under way to the front of their shards, in order.

    Args:
      shape: from now on; large enough, and of one sample per prompt and as many prompts as rows if `packed`.
      packed: whether each row has an entry of its own, numbered as itself, and nothing begins.

    Returns:
      [J, B/J] rows and [J, P/J] entries: where each new one was within its shard, -1 for none.
    """
    old = self.shape.rows // shape.shards
    rows = np.full((shape.shards, shape.rows // shape.shards), -1, np.int32)
    entries = np.full((shape.shards, shape.prompts // shape.shards), -1, np.int32)
    owner: list[tuple[Group, int] | None] = [None] * shape.rows
    moved: dict[Group, int] = {}
    used = [0] * shape.shards
    for row, own in ((row, self.owner[row]) for row in self.alive):
      assert own is not None
      group, sample = own
      count = int((rows[group.shard] >= 0).sum())
      rows[group.shard, count] = row % old
      group.rows[sample] = group.shard * rows.shape[1] + count
      owner[group.rows[sample]] = own
      if packed or group not in moved:
        entries[group.shard, used[group.shard]] = group.entry
        moved.setdefault(group, used[group.shard])
        used[group.shard] += 1
    for group, entry in moved.items():
      group.entry = entry
    self.shape, self.owner, self._packed = shape, owner, packed
    self._entries = entries >= 0
    return rows, entries

  def table(self) -> tuple[np.ndarray, np.ndarray]:
    """[J, P/J, R] rows of each prompt and [J, B/J] places of each row, counted within shards."""
    shape = self.shape
    table = np.full((shape.shards, shape.prompts // shape.shards, shape.samples), -1, np.int32)
    place = np.zeros((shape.shards, shape.rows // shape.shards), np.int32)
    for group in self.admitted:
      for i, row in enumerate(sorted(group.rows.values())):
        own = row % (shape.rows // shape.shards)
        if self._packed:
          table[group.shard, own, 0] = place[group.shard, own] = own
          continue
        table[group.shard, group.entry, i] = own
        place[group.shard, own] = group.entry * shape.samples + i
    return table, place

  def unfilled(self) -> Iterator[Group]:
    """Admitted groups whose prompt is not prefilled yet, oldest first."""
    return (group for group in self.admitted if not group.ready)

  def _free_rows(self, shard: int) -> list[int]:
    size = self.shape.rows // self.shape.shards
    return [row for row in range(shard * size, (shard + 1) * size) if self.owner[row] is None]

  def _release(self) -> None:
    for group in self.admitted:
      if group.over:
        self._entries[group.shard, group.entry] = False
    self.admitted = [group for group in self.admitted if not group.over]
