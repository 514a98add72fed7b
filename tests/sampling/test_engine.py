"""What is sampled does not depend on how it was batched, and greedy equals transformers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmi_jax.core.errors import DataError
from llmi_jax.models.decoder import decode_view, forward, unembed
from llmi_jax.programs import generation
from llmi_jax.sampling.engine import Engine, EngineConfig
from llmi_jax.sampling.keys import row_keys
from llmi_jax.sampling.logits import Sampling
from llmi_jax.sampling.request import Request
from llmi_jax.weights.load import load_pretrained

SIZES = EngineConfig(
  rows=6,
  samples=3,
  first_bucket=4,
  prompt_slots=10,
  response_slots=12,
  chunk=4,
  vocab=160,
  width=32,
  stops=(1,),
  banned=(0,),
  packing=1,
)


@pytest.fixture(scope='module')
def policy(tiny_hf):
  model, config = load_pretrained(tiny_hf[0])
  return decode_view(model), model, config


def _prompts(count, seed=0):
  rng = np.random.default_rng(seed)
  return [rng.integers(2, 160, rng.integers(2, 10)).astype(np.int32) for _ in range(count)]


def _run(policy, sizes, prompts, samples, order=None, late=(), few=0, rows=None):
  """Samples of all prompts; `late` come when `few` rows are run. `rows` gets how many were, step by step."""
  engine = Engine(generation.sampler(policy[2], sizes), sizes)
  tasks = np.repeat(np.arange(len(prompts)), samples)
  keys = row_keys(0, 'eval', 3, tasks, np.tile(np.arange(samples), len(prompts))).reshape(
    len(prompts), samples
  )

  def submit(chosen):
    for i in chosen:
      engine.submit(Request(i, prompts[i], keys[i], 12))

  submit(order or range(len(prompts)))
  out, rows = {}, [] if rows is None else rows
  while engine.busy:
    before = engine.counts.row_steps
    for sample in engine.step(policy[0]):
      out[sample.id, sample.sample] = sample
    rows.append(engine.counts.row_steps - before)
    if engine.busy and rows[-1] == few:
      submit(late)
      late = ()
  return out


def test_same_tokens_in_any_batch_order_and_slot(policy):
  prompts = _prompts(5)
  alone = dataclasses.replace(SIZES, rows=4, samples=2, chunk=3, prefill_tokens=4)
  one, two = _run(policy, SIZES, prompts, 3), _run(policy, alone, prompts, 3, order=[4, 2, 0, 1, 3])
  assert one.keys() == two.keys() and len(one) == 15
  for key in one:
    np.testing.assert_array_equal(one[key].tokens, two[key].tokens)
    np.testing.assert_allclose(one[key].logp_full, two[key].logp_full, atol=1e-5)


def _compare(one, two):
  assert one.keys() == two.keys()
  for key in one:
    np.testing.assert_array_equal(one[key].tokens, two[key].tokens)
    np.testing.assert_allclose(one[key].logp_full, two[key].logp_full, atol=1e-5)


def test_packing_what_is_left_changes_no_token_and_runs_fewer_rows(policy):
  runs = []
  for packing in (1, 4):
    rows = []
    sizes = dataclasses.replace(SIZES, rows=16, chunk=1, packing=packing)
    runs.append((_run(policy, sizes, _prompts(6), 3, rows=rows), rows))
  (whole, most), (packed, fewer) = runs
  _compare(packed, whole)
  assert set(most) == {16} and len(fewer) == len(most)
  assert set(fewer) >= {16, 4} and sorted(fewer, reverse=True) == fewer


def test_who_comes_when_rows_are_packed_finds_all_of_them(policy):
  sizes = dataclasses.replace(SIZES, rows=8, chunk=1, packing=2, stops=(1, *range(2, 40)))
  rows, order = [], [0, 1, 2, 3]
  wanted = _run(policy, dataclasses.replace(sizes, packing=1), _prompts(6), 3)
  _compare(_run(policy, sizes, _prompts(6), 3, order, late=[4, 5], few=2, rows=rows), wanted)
  changes = [size for size, after in zip([0, *rows], rows) if size != after]
  assert changes[:4] == [0, 8, 4, 2], rows
  assert rows[rows.index(2) + 1] == 8


def test_greedy_equals_transformers(policy, tiny_hf):
  import torch

  sizes = dataclasses.replace(SIZES, samples=1, sampling=Sampling(0), banned=())
  prompts = _prompts(4, seed=5)
  ours = _run(policy, sizes, prompts, 1)
  for i, prompt in enumerate(prompts):
    ids = torch.from_numpy(prompt).long()[None]
    with torch.no_grad():
      out = tiny_hf[1].generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
    np.testing.assert_array_equal(ours[i, 0].tokens, out[0, len(prompt) :].numpy())


def test_logprobs_equal_a_whole_forward_pass(policy):
  _, model, config = policy
  sizes = dataclasses.replace(SIZES, sampling=Sampling(0.7))
  prompts = _prompts(2, seed=3)
  for (i, _), sample in _run(policy, sizes, prompts, 3).items():
    tokens = np.concatenate([prompts[i], sample.tokens])[None]
    positions = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None]
    hidden, _, _ = forward(model, jnp.asarray(tokens), positions, jnp.array([tokens.shape[1]]), config=config)
    logits = np.array(unembed(model, hidden))[0, len(prompts[i]) - 1 : -1]
    at = np.arange(len(sample.tokens)), sample.tokens
    np.testing.assert_allclose(jax.nn.log_softmax(logits)[at], sample.logp_full, atol=1e-5)
    logits[:, 0] = -1e30
    np.testing.assert_allclose(jax.nn.log_softmax(logits / 0.7)[at], sample.logp_sampled, atol=1e-5)


@pytest.mark.parametrize('compute', [pytest.param(jnp.float32, marks=pytest.mark.slow), jnp.bfloat16])
def test_keys_and_values_may_be_kept_in_half_the_bytes(policy, compute):
  _, model, config = policy
  sizes = dataclasses.replace(SIZES, prefill_tokens=4, dtype=compute, cache=jnp.bfloat16)
  view, prompts, gaps = decode_view(model, compute), _prompts(3, seed=4), []
  whole = _run((view, model, config), sizes, prompts, 3)
  kept = jax.tree.leaves(generation.sampler(config, sizes).storage(1, 4))
  assert {leaf.dtype for leaf in kept} == {jnp.dtype(jnp.bfloat16)}
  for (i, _), sample in whole.items():
    tokens = np.concatenate([prompts[i], sample.tokens])[None]
    positions = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None]
    hidden, _, _ = forward(model, jnp.asarray(tokens), positions, jnp.array([tokens.shape[1]]), config=config)
    logits = np.array(unembed(model, hidden))[0, len(prompts[i]) - 1 : -1]
    gaps.extend(sample.logp_full - jax.nn.log_softmax(logits)[np.arange(len(sample.tokens)), sample.tokens])
  assert 1e-5 < np.abs(gaps).max() < 0.1


def test_no_banned_token_is_drawn_and_limits_hold(policy):
  banned = tuple(range(2, 150))
  out = _run(policy, dataclasses.replace(SIZES, banned=banned), _prompts(3), 3)
  for sample in out.values():
    assert not set(sample.tokens.tolist()) & set(banned)
    assert len(sample.tokens) <= 12
    assert (sample.finish == 'stop') == (sample.tokens[-1] == 1)


def test_a_request_that_is_taken_back_leaves_no_trace(policy):
  prompts, keys = _prompts(2, seed=7), row_keys(0, 'eval', 0, np.zeros(1), np.zeros(1))
  sizes = dataclasses.replace(SIZES, stops=())

  def run(before):
    engine = Engine(generation.sampler(policy[2], sizes), sizes)
    if before:
      engine.submit(Request('lost', prompts[0], keys, 12))
      engine.step(policy[0])
      engine.cancel('lost')
      assert not engine.busy
    engine.submit(Request('kept', prompts[1], keys, 12))
    while engine.busy:
      for sample in engine.step(policy[0]):
        return sample, int(engine.counts.steps)

  (alone, _), (after, steps) = run(False), run(True)
  np.testing.assert_array_equal(alone.tokens, after.tokens)
  np.testing.assert_array_equal(alone.logp_full, after.logp_full)
  assert steps == 4 + 12


def test_bad_requests_are_refused(policy):
  engine = Engine(generation.sampler(policy[2], SIZES), SIZES)
  keys = row_keys(0, 'eval', 0, np.zeros(3), np.arange(3))
  with pytest.raises(DataError, match='11 tokens'):
    engine.submit(Request('long', np.ones(11, np.int32), keys, 4))
  with pytest.raises(DataError, match='0 tokens'):
    engine.submit(Request('empty', np.ones(0, np.int32), keys, 4))
  with pytest.raises(DataError, match='banned'):
    Engine(generation.sampler(policy[2], SIZES), dataclasses.replace(SIZES, banned=tuple(range(160))))
