"""The schedule: every sample gets one row of its prompt's shard; rows and entries are never shared."""

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from llmi_jax.sampling.slots import Group, Shape, Slots


@dataclasses.dataclass
class Prompt:
  tokens: np.ndarray


def _group(number, samples, length):
  return Group(number, Prompt(np.zeros(length, np.int32)), np.zeros((samples, 2), np.uint32), samples)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_every_sample_is_served_once_and_rows_are_never_shared(data):
  shards, each = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 6))
  samples = data.draw(st.integers(1, each))
  shape = Shape(shards, shards * each, shards * data.draw(st.integers(1, 4)), samples)
  slots = Slots(shape)
  wanted = {}
  for number in range(data.draw(st.integers(1, 8))):
    group = _group(number, data.draw(st.integers(1, 9)), data.draw(st.integers(1, 5)))
    wanted[number] = group.samples
    slots.waiting.append(group)
  served = {number: [] for number in wanted}
  for _ in range(400):
    if not slots.busy:
      break
    slots.admit()
    if slots.starved and data.draw(st.booleans()):
      slots.extend(2 * slots.shape.prompts)
      slots.admit()
    shape = slots.shape
    for group in slots.unfilled():
      group.done += data.draw(st.integers(1, 5))
    for group, sample, row in slots.begin():
      served[group.id].append(sample)
      assert row // each == group.shard
    _check(slots, shape, each)
    alive = slots.alive
    if alive and slots.hungry and not list(slots.unfilled()):
      _check_nothing_idles(slots, shape)
    if data.draw(st.booleans()) and not slots.hungry and slots.busy:
      alive = _pack_and_unpack(slots, data)
    for row in data.draw(st.lists(st.sampled_from(alive), min_size=1, unique=True)) if alive else ():
      slots.end(row)
  assert not slots.busy
  assert served == {number: list(range(count)) for number, count in wanted.items()}


def _pack_and_unpack(slots, data):
  """Rows under way after a move to fewer and back; some end in between."""
  whole, packed = slots.shape, data.draw(st.integers(slots.fullest, slots.shape.rows // slots.shape.shards))
  few = Shape(whole.shards, packed * whole.shards, packed * whole.shards, 1)
  for shape in (few, few, whole):
    before, was = list(slots.owner), slots.shape
    entries = {id(group): group.entry for group in slots.admitted}
    rows, sources = slots.move(shape, shape is few)
    assert rows.shape == (shape.shards, shape.rows // shape.shards)
    assert sources.shape == (shape.shards, shape.prompts // shape.shards)
    table, place = slots.table()
    assert (table >= 0).sum() == len(slots.alive) == len([own for own in before if own])
    for row in slots.alive:
      group, sample = slots.owner[row]
      assert group.rows[sample] == row
      shard, own = divmod(row, rows.shape[1])
      assert shard == group.shard
      assert before[rows[shard, own] + shard * (was.rows // was.shards)] == (group, sample)
      entry, at = divmod(place[shard, own], shape.samples)
      assert table[shard, entry, at] == own and (entry == own or shape is whole)
      assert sources[shard, entry] == entries[id(group)]
    if slots.alive:
      slots.end(data.draw(st.sampled_from(slots.alive)))
  return slots.alive


def _check(slots, shape, each):
  entries = [(group.shard, group.entry) for group in slots.admitted]
  assert len(set(entries)) == len(entries)
  table, place = slots.table()
  for row in slots.alive:
    group, sample = slots.owner[row]
    assert group.rows[sample] == row
    shard, own = divmod(row, each)
    at = place[shard, own]
    assert table[shard].reshape(-1)[at] == own
    assert at // shape.samples == group.entry
  assert (table >= 0).sum() == len(slots.alive)


def _check_nothing_idles(slots, shape):
  """A free row is left only where no prompt of its shard has samples to begin and no entry is free."""
  size = shape.rows // shape.shards
  for shard in range(shape.shards):
    free = [row for row in range(shard * size, (shard + 1) * size) if slots.owner[row] is None]
    for group in slots.admitted:
      if free and group.shard == shard and group.ready:
        assert group.begun == group.samples or len(group.rows) == shape.samples


def test_a_request_taken_back_leaves_nothing():
  slots = Slots(Shape(1, 4, 2, 2))
  for number in range(3):
    slots.waiting.append(_group(number, 3, 2))
  slots.admit()
  for group in slots.unfilled():
    group.done = 2
  slots.begin()
  before = slots.alive
  rows = slots.forget(0)
  assert rows == [0, 1] and set(before) - set(rows) == set(slots.alive)
  assert slots.forget(2) == [] and [g.id for g in slots.waiting] == []
  for row in slots.alive:
    slots.end(row)
  slots.admit()
  slots.begin()
  for row in slots.alive:
    slots.end(row)
  assert not slots.busy
