"""Plans of micro-batches: every group once, little padding, equal in all processes; weights add up."""

import numpy as np
import pytest

from llmi_jax.core.errors import ConfigError
from llmi_jax.rl.loss import Surrogate
from llmi_jax.rollout import pieces
from llmi_jax.rollout.pieces import MicroBatches
from llmi_jax.update.rows import Rows

P, R, TP, TR = 6, 3, 5, 10
RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(0, TR + 1, (P, R)).astype(np.int32)


def _rows(groups=slice(None)):
  length = LENGTHS[groups].reshape(-1)
  mask = (np.arange(TR) < length[:, None]).astype(np.float32)
  count = len(length)
  number = np.arange(P * R).reshape(P, R)[groups].reshape(-1)
  tokens = np.broadcast_to(number[:, None], (count, TR)).astype(np.int32)
  prompt = np.broadcast_to(np.arange(P)[groups][:, None], (count // R, TP)).astype(np.int32)
  return Rows(prompt, np.full(count // R, 3, np.int32), tokens, length, mask, 0 * mask, length / 10.0)


@pytest.mark.parametrize(
  'settings',
  [
    MicroBatches(2, (4, 7, TR)),
    MicroBatches(4, (TR,)),
    MicroBatches(0, (4, TR), tokens=60, prompt=TP),
    MicroBatches(1, tuple(range(TR + 1)), updates=3),
    MicroBatches(0, (TR,), shards=4),
  ],
)
def test_every_row_stands_in_one_micro_batch_with_its_weight(settings):
  rows = _rows()
  micros = pieces.micro_batches(rows, settings, Surrogate())
  seen = []
  for micro in micros:
    own, width = micro.rows, micro.rows.tokens.shape[1]
    assert width in settings.widths and own.length.max(initial=0) <= width
    assert len(own.prompt) % settings.shards == 0
    if settings.tokens:
      assert len(own.prompt) == 1 or len(own.prompt) * (TP + R * width) <= settings.tokens
    for row in np.flatnonzero(own.length):
      number = own.tokens[row, 0]
      seen.append(number)
      assert own.prompt[row // R, 0] == number // R and own.length[row] == LENGTHS.reshape(-1)[number]
      assert micro.update == number // R // (P // settings.updates)
    assert (own.prompt_len > 0).all() and not own.mask[own.length == 0].any()
  assert sorted(seen) == sorted(np.flatnonzero(LENGTHS.reshape(-1)))
  for update in range(settings.updates):
    assert sum(m.weights.sum() for m in micros if m.update == update) == pytest.approx(1, abs=1e-6)


def test_a_bound_on_tokens_makes_wide_micro_batches_small():
  found = pieces.plan(np.full((1, 8, 4), 10), MicroBatches(0, (10, 40), tokens=100, prompt=10))
  assert [p.groups.shape[1] for p in found] == [2] * 4
  found = pieces.plan(np.full((1, 8, 4), 11), MicroBatches(0, (10, 40), tokens=100, prompt=10))
  assert [(p.width, p.groups.shape[1]) for p in found] == [(40, 1)] * 8


@pytest.mark.parametrize('aggregation', ['token_mean', 'seq_mean_token_mean', 'seq_mean_token_sum'])
def test_two_processes_make_one_plan_and_the_weights_of_one(aggregation):
  settings, surrogate = MicroBatches(2, (4, TR)), Surrogate(aggregation=aggregation)
  halves = [_rows(slice(0, 3)), _rows(slice(3, 6))]
  plan = pieces.plan(LENGTHS.reshape(2, 3, R), settings)
  whole = sum(pieces.totals(half, settings) for half in halves)
  wanted = pieces.weights(_rows(), settings, surrogate)
  for process, half in enumerate(halves):
    own = pieces.weights(half, settings, surrogate, whole)
    np.testing.assert_allclose(own, wanted[process * 9 : process * 9 + 9], rtol=1e-6)
    micros = pieces.cut(half, plan, process, own)
    assert [m.rows.tokens.shape for m in micros] == [(2 * R, piece.width) for piece in plan]
    assert sum(float(m.rows.mask.sum()) for m in micros) == half.mask.sum()


def test_impossible_cuts_are_refused():
  with pytest.raises(ConfigError, match='6 prompts per step and process cannot make 4 updates'):
    pieces.plan(LENGTHS[None], MicroBatches(2, (TR,), updates=4))
  with pytest.raises(ConfigError, match=r'has \d+ tokens and optimizer\.widths ends at 3'):
    pieces.plan(LENGTHS[None], MicroBatches(2, (3,)))
