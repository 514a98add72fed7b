"""Digests differ wherever bits do, and nowhere else: not by layout, not by process, not by order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from llmi_jax.checkpoint.digest import differing, digest, digests


def mixed(x):
  """The same mixing in Python's whole numbers."""
  x = ((x ^ (x >> 16)) * 0x85EBCA6B) % 2**32
  x = ((x ^ (x >> 13)) * 0xC2B2AE35) % 2**32
  return x ^ (x >> 16)


def test_sums_are_those_of_a_plain_loop():
  values = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
  words = [int(word) for word in values.view(np.uint32).reshape(-1)]
  lanes = (0x9E3779B9, 0x85EBCA6B, 0xC2B2AE35, 0x27D4EB2F)
  wanted = [
    sum(mixed(mixed((place + lane) % 2**32) ^ word) for place, word in enumerate(words)) % 2**32
    for lane in lanes
  ]
  assert digests({'w': jnp.asarray(values)}) == {"['w']": ''.join(f'{lane:08x}' for lane in wanted)}


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'int32', 'uint8', 'bool', 'float64'])
def test_every_bit_and_every_place_counts(dtype):
  with jax.enable_x64(dtype == 'float64'):
    values = jnp.asarray(np.array([1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 1]).reshape(3, 4), dtype)
    others = (values.reshape(4, 3), values[::-1], values.at[1, 1].set(jnp.ones((), dtype)))
    assert digest(values) == digest(jnp.array(values)) and len({digest(v) for v in (values, *others)}) == 4


def test_zeros_of_both_signs_and_nans_of_two_kinds_are_told_apart():
  plain = jnp.asarray([0.0, np.nan], jnp.float32)
  assert digest(plain) == digest(plain + 0) != digest(plain * jnp.asarray([-1.0, 1.0], jnp.float32))
  other = jax.lax.bitcast_convert_type(jnp.asarray([0, 0x7FC00001], jnp.uint32), jnp.float32)
  assert digest(plain) != digest(other)


@pytest.mark.parametrize('spec', [PartitionSpec('a'), PartitionSpec(None, 'a'), PartitionSpec('a', 'b')])
def test_layout_does_not_count(spec):
  values = jnp.asarray(np.random.default_rng(1).normal(size=(8, 16)), jnp.float32)
  sizes = (4, 2) if 'b' in spec else (8, 1)
  mesh = Mesh(np.array(jax.devices()).reshape(sizes), ('a', 'b'))
  assert digest(jax.device_put(values, NamedSharding(mesh, spec))) == digest(values)


def test_differing_names_arrays_and_counts_elements():
  one = {'a': jnp.zeros((2, 3)), 'b': jnp.asarray([1.0, np.nan])}
  other = {'a': one['a'].at[0, 1].set(-0.0), 'b': one['b']}
  assert differing(one, other) == {"['a']": 1} and differing(one, one) == {}
