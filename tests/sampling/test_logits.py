"""What is kept is exactly what a sort would keep, and what is drawn follows the exact distribution."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from llmi_jax.core.errors import ConfigError
from llmi_jax.sampling.logits import MASKED, Sampling, check, draw, keep

CHOICES = [
  Sampling(),
  Sampling(0.6),
  Sampling(1.3, top_k=3),
  Sampling(1.0, top_p=0.8),
  Sampling(0.9, min_p=0.2),
  Sampling(1.1, top_k=6, top_p=0.9, min_p=0.05),
]


def _exact(logits, banned, sampling):
  """[V] probabilities in float64, by sorting."""
  values = np.where(banned, -np.inf, np.asarray(logits, np.float64)) / sampling.temperature
  if sampling.top_k:
    values = np.where(values >= np.sort(values)[-sampling.top_k], values, -np.inf)
  if sampling.top_p < 1:
    probability = np.exp(values - values.max())
    probability /= probability.sum()
    order = np.argsort(-probability)
    count = int((np.cumsum(probability[order]) < sampling.top_p).sum()) + 1
    values = np.where(probability >= probability[order[count - 1]], values, -np.inf)
  if sampling.min_p:
    values = np.where(values >= values.max() + np.log(sampling.min_p), values, -np.inf)
  probability = np.exp(values - values.max())
  return probability / probability.sum()


@pytest.mark.parametrize('sampling', CHOICES, ids=str)
def test_frequencies_follow_the_exact_distribution(sampling):
  count, rng = 20_000, np.random.default_rng(0)
  logits = rng.normal(size=12).astype(np.float32) * 1.5
  banned = np.zeros(12, bool)
  banned[4] = True
  keys = jax.random.split(jax.random.key(3, impl='threefry2x32'), count)
  drawn = jax.jit(draw, static_argnums=4)(
    jnp.tile(logits[None], (count, 1)), keys, jnp.arange(count), jnp.asarray(banned), sampling
  )
  wanted = _exact(logits, banned, sampling)
  found = np.bincount(drawn.token, minlength=12)
  assert not found[wanted == 0].any()
  live = wanted > 0
  if live.sum() > 1:
    assert stats.chisquare(found[live], wanted[live] * count).pvalue > 0.001
  np.testing.assert_allclose(drawn.logp_sampled, np.log(wanted[drawn.token]), atol=1e-5)
  full = np.asarray(jax.nn.log_softmax(logits))
  np.testing.assert_allclose(drawn.logp_full, full[drawn.token], atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
  st.lists(st.floats(-80, 80, width=32), min_size=8, max_size=8),
  st.integers(1, 9),
  st.floats(0.01, 0.999),
)
def test_thresholds_keep_what_a_sort_keeps(values, top_k, top_p):
  logits = np.array([values], np.float32)
  kept = np.asarray(keep(logits, Sampling(1.0, top_k=top_k)))[0] > MASKED / 2
  bound = np.sort(logits[0])[-top_k] if top_k <= 8 else -np.inf
  np.testing.assert_array_equal(kept, logits[0] >= bound)
  kept = np.asarray(keep(logits, Sampling(1.0, top_p=top_p)))[0] > MASKED / 2
  probability = np.exp(np.float64(logits[0]) - logits.max())
  probability /= probability.sum()
  assert probability[kept].sum() >= top_p - 1e-5
  # Without the least likely that is kept it would be too little; nothing likelier is left out.
  least = logits[0][kept].min()
  assert probability[logits[0] > least].sum() < top_p + 1e-5
  assert (logits[0][~kept] < least).all()


def test_numbers_that_are_none_are_told():
  logits = np.zeros((3, 4), np.float32)
  logits[1, 2], logits[2, 0] = np.nan, np.inf
  keys = jax.random.split(jax.random.key(0, impl='threefry2x32'), 3)
  drawn = draw(jnp.asarray(logits), keys, jnp.arange(3), jnp.zeros(4, bool), Sampling())
  assert drawn.sound.tolist() == [True, False, False]


def test_no_sort_is_compiled():
  keys = jax.random.split(jax.random.key(0, impl='threefry2x32'), 2)
  for sampling in CHOICES:
    lowered = jax.jit(draw, static_argnums=4).lower(
      jnp.zeros((2, 64)), keys, jnp.arange(2), jnp.zeros(64, bool), sampling
    )
    assert not re.search(r'\b(sort|top_k)\b', lowered.as_text())


@pytest.mark.parametrize(
  ('sampling', 'named'),
  [
    (Sampling(-1.0), 'temperature'),
    (Sampling(top_k=-1), 'top_k'),
    (Sampling(top_p=0.0), 'top_p'),
    (Sampling(min_p=1.5), 'min_p'),
  ],
)
def test_choices_that_make_no_sense_are_refused(sampling, named):
  with pytest.raises(ConfigError, match=named):
    check(sampling)
