"""What tells two states apart to the bit, computed where the arrays live.

An array's digest is four sums modulo 2³² over its elements, each element mixed with its place. Such sums do
not depend on the order in which they are taken, so the digest is the same on one device and on many, in one
process and in several, and no array travels to the host. It finds accidents; it withstands no forger.
"""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from llmi_jax import offload

_LANES = (0x9E3779B9, 0x85EBCA6B, 0xC2B2AE35, 0x27D4EB2F)


def digests(tree: Any) -> dict[str, str]:
  """Path of every array → 32 hex digits. Arrays of several processes: all must call it together."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  sums = jax.device_get(_sums([offload.near(leaf) for _, leaf in leaves]))
  return {
    jax.tree_util.keystr(path): ''.join(f'{int(lane):08x}' for lane in one)
    for (path, _), one in zip(leaves, sums, strict=True)
  }


def digest(tree: Any) -> str:
  """64 hex digits over a tree's arrays in tree order: differs whenever a bit, a shape or a dtype does."""
  total = hashlib.sha256()
  for leaf, one in zip(jax.tree.leaves(tree), digests(tree).values(), strict=True):
    total.update(f'{leaf.dtype}{list(leaf.shape)}{one};'.encode())
  return total.hexdigest()


def differing(one: Any, other: Any) -> dict[str, int]:
  """Path → how many elements differ in bits, of every array that differs. The trees are of one form."""
  counts = jax.device_get(_differing(*(jax.tree.leaves(offload.near(tree)) for tree in (one, other))))
  paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(one)]
  return {path: int(count) for path, count in zip(paths, counts, strict=True) if count}


@jax.jit
def _sums(leaves: list[Array]) -> list[Array]:
  return [_sum(leaf) for leaf in leaves]


@jax.jit
def _differing(these: list[Array], those: list[Array]) -> list[Array]:
  return [jnp.sum(_words(a) != _words(b), dtype=jnp.uint32) for a, b in zip(these, those)]


def _sum(leaf: Array) -> Array:
  """[4] uint32."""
  words = _words(leaf)
  place, stride = jnp.zeros(words.shape, jnp.uint32), 1
  for axis in reversed(range(words.ndim)):
    steps = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
    place += steps * jnp.uint32(stride % (1 << 32))
    stride *= words.shape[axis]
  lanes = [jnp.sum(_mix(_mix(place + jnp.uint32(lane)) ^ words), dtype=jnp.uint32) for lane in _LANES]
  return jnp.stack(lanes)


def _words(leaf: Array) -> Array:
  """An array's bits as uint32; elements of 8 bytes get an axis of two."""
  leaf = jnp.asarray(leaf)
  if leaf.dtype == jnp.bool_:
    return leaf.astype(jnp.uint32)
  size = leaf.dtype.itemsize
  bits = jax.lax.bitcast_convert_type(leaf, {1: jnp.uint8, 2: jnp.uint16}.get(size, jnp.uint32))
  return bits.astype(jnp.uint32)


def _mix(x: Array) -> Array:
  """A bijection of uint32 in which every bit moves every other: the end of MurmurHash3."""
  x = (x ^ (x >> jnp.uint32(16))) * jnp.uint32(0x85EBCA6B)
  x = (x ^ (x >> jnp.uint32(13))) * jnp.uint32(0xC2B2AE35)
  return x ^ (x >> jnp.uint32(16))
