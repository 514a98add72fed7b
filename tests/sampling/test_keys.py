"""Keys of rows: the chain that they are, and that a new seed costs no compilation."""

import jax
import numpy as np
import pytest

from llmi_jax.sampling import keys

TASKS, SAMPLES = np.array([7, 2**32 - 1], np.uint32), np.array([0, 3], np.uint32)


@pytest.mark.parametrize('seed', [0, 17, 2**31 - 1, 2**32 + 5])
@pytest.mark.parametrize('stream', ['train', 'serve'])
def test_a_key_is_its_seed_stream_step_task_and_sample_folded_in_one_after_the_other(seed, stream):
  made = keys.row_keys(seed, stream, 4, TASKS, SAMPLES)
  for key, task, sample in zip(made, TASKS, SAMPLES, strict=True):
    expected = jax.random.key(seed & 0xFFFFFFFF, impl='threefry2x32')
    for word in (keys.STREAMS[stream], 4, task, sample):
      expected = jax.random.fold_in(expected, word)
    np.testing.assert_array_equal(jax.random.key_data(key), jax.random.key_data(expected))


def test_a_new_seed_and_another_stream_compile_nothing():
  keys.row_keys(1, 'serve', 0, TASKS, SAMPLES)
  before = keys._row_keys._cache_size()
  for seed in range(2, 6):
    keys.row_keys(seed, 'tts', 0, TASKS, SAMPLES)
  assert keys._row_keys._cache_size() == before
