"""Arrays that wait in the host's memory while nothing computes with them."""

from typing import Any

import jax

HOST = 'pinned_host'


def away(tree: Any) -> Any:
  """The arrays in the host's memory, each shard beside its device."""
  return jax.tree.map(lambda leaf: leaf if is_away(leaf) else _put(leaf, HOST), tree)


def near(tree: Any) -> Any:
  """The arrays on their devices; those that are there already as they are."""
  return jax.tree.map(lambda leaf: _put(leaf, 'device') if is_away(leaf) else leaf, tree)


def copy(tree: Any) -> Any:
  """The arrays in memory of their own, of the same kind: an update gives away what it gets."""
  return jax.tree.map(lambda leaf: jax.device_put(leaf, leaf.sharding, may_alias=False), tree)


def is_away(leaf: Any) -> bool:
  """Whether it waits in the host's memory."""
  return isinstance(leaf, jax.Array) and leaf.sharding.memory_kind == HOST


def _put(leaf: jax.Array, kind: str) -> jax.Array:
  return jax.device_put(leaf, leaf.sharding.with_memory_kind(kind))
