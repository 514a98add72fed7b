import jax
import numpy as np
import pytest

from llmi_jax.core.errors import WeightsError
from llmi_jax.painter.network import Painter, Shape
from llmi_jax.weights import painter

SHAPE = Shape(5, side=16, width=16, layers=1, heads=2)


def test_what_was_saved_is_loaded_in_half_precision(tmp_path):
  params = Painter(SHAPE, jax.random.key(0))
  painter.save(params, SHAPE, {'red': 1, 'scarlet': 1}, tmp_path)
  loaded = painter.load(tmp_path)
  assert (loaded.shape, loaded.vocabulary, len(loaded.digest)) == (SHAPE, {'red': 1, 'scarlet': 1}, 64)
  for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(loaded.params)):
    assert b.dtype == np.float32 and np.array_equal(np.asarray(a, np.float16), np.asarray(b, np.float16))


def test_a_missing_broken_or_foreign_file_is_named(tmp_path):
  with pytest.raises(WeightsError, match=r'painter\.safetensors'):
    painter.load(tmp_path)
  painter.save(
    Painter(SHAPE, jax.random.key(0)), Shape(5, side=16, width=32, layers=1, heads=2), {}, tmp_path
  )
  with pytest.raises(WeightsError, match='do not fit'):
    painter.load(tmp_path)
  path = tmp_path / painter.FILE
  path.write_bytes(path.read_bytes()[:100])
  with pytest.raises(WeightsError, match='restore'):
    painter.load(tmp_path)
