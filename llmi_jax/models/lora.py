"""Low-rank adapters (LoRA, Hu et al., arXiv 2106.09685): added, split off to be trained alone, merged.

An adapter stands inside the `Linear` that it changes, so a model runs the same with and without.

The library qwix has adapters too, but finds their layer by walking the stack for an `nnx.Module` called
`self`, which pure functions over pytrees do not have, and gives none to `ragged_dot`, which experts use.
"""

import fnmatch
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from llmi_jax.core.errors import ConfigError
from llmi_jax.models.linear import Adapter, Linear, Lora
from llmi_jax.models.sharding import leaf_name

M = TypeVar('M')


def add(model: M, key: Array, rank: int, alpha: float, targets: Sequence[str]) -> M:
  """The model with an adapter that changes nothing yet on every linear map that `targets` name.

  As PEFT begins: `a` is uniform within ±1/√inputs (Kaiming with a = √5), `b` is 0.

  Args:
    model: a pytree with `Linear`s.
    key: for `a`.
    rank: of each adapter.
    alpha: adapters are scaled by alpha / rank.
    targets: endings of dotted paths, such as `attention.q`, `mlp.*` or `moe.*`; `*` stands for anything.

  Raises:
    ConfigError: a target names nothing, the rank is not positive, or there is an adapter already.
  """
  if rank < 1:
    raise ConfigError(f'The rank of LoRA adapters is {rank}; make it 1 or more.')
  known = dict(linears(model))
  if any(linear.lora is not None for linear in known.values()):
    raise ConfigError('The model has LoRA adapters already; merge them first.')
  chosen = choose(known, targets)
  keys = dict(zip(chosen, jax.random.split(key, len(chosen))))

  def adapter(path: str, linear: Linear) -> Adapter:
    *front, inputs, outputs = linear.w.shape
    bound, dtype = inputs**-0.5, linear.w.dtype
    a = jax.random.uniform(keys[path], (*front, inputs, rank), jnp.float32, -bound, bound)
    return Adapter(a.astype(dtype), jnp.zeros((*front, rank, outputs), dtype), alpha / rank)

  return put(model, {path: adapter(path, known[path]) for path in chosen})


def choose(known: Iterable[str], targets: Sequence[str]) -> list[str]:
  """The paths that targets name, in the order of `known`.

  Raises:
    ConfigError: a target names nothing.
  """
  known = list(known)
  for target in targets:
    if not any(_names(target, path) for path in known):
      endings = sorted({_ending(path) for path in known})
      raise ConfigError(f'No linear map is called {target!r}; known are {", ".join(endings)}.')
  return [path for path in known if any(_names(target, path) for target in targets)]


def _names(target: str, path: str) -> bool:
  return fnmatch.fnmatchcase(path, target) or fnmatch.fnmatchcase(path, f'*.{target}')


def _ending(path: str) -> str:
  """What follows the last number of a path."""
  parts = path.split('.')
  numbers = [at for at, part in enumerate(parts) if part.isdigit()]
  return '.'.join(parts[numbers[-1] + 1 :] if numbers else parts)


def linears(model: Any) -> list[tuple[str, Linear]]:
  """Dotted path and layer of every linear map."""
  found = jax.tree_util.tree_leaves_with_path(model, is_leaf=_is_linear)
  return [(leaf_name(path), leaf) for path, leaf in found if _is_linear(leaf)]


def adapters(model: Any) -> dict[str, Adapter]:
  """Path of its linear map → adapter."""
  return {path: linear.lora for path, linear in linears(model) if linear.lora is not None}


def put(model: M, made: dict[str, Adapter]) -> M:
  """The model with these adapters, by the paths of their linear maps."""

  def one(path, leaf):
    adapter = made.get(leaf_name(path)) if _is_linear(leaf) else None
    return leaf if adapter is None else _changed(leaf, leaf.w[...], adapter)

  return jax.tree_util.tree_map_with_path(one, model, is_leaf=_is_linear)


def split(model: M, frozen: Sequence[str] = ()) -> tuple[M, M | None]:
  """What is trained and what is not: two trees of the model's structure, None in place of the other's leaves.

  With adapters these alone are trained. Without, all is trained; if nothing is frozen, the second is None.

  Args:
    model: a pytree.
    frozen: dotted paths of leaves that are not trained, such as `tower.*` or `*.moe.router.*`.

  Raises:
    ConfigError: one of them names nothing.
  """
  paths = [leaf_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(model)]
  for pattern in frozen:
    if not fnmatch.filter(paths, pattern):
      raise ConfigError(f'No parameter is called {pattern!r}; paths are such as {paths[0]} or {paths[-1]}.')
  adapted = bool(adapters(model))
  if not adapted and not frozen:
    return model, None

  def part(trained: bool):
    def one(path, variable):
      name = leaf_name(path)
      own = not adapted or isinstance(variable, Lora)
      own = own and not any(fnmatch.fnmatchcase(name, pattern) for pattern in frozen)
      return variable if own == trained else jax.tree.map(lambda _: None, variable)

    return jax.tree_util.tree_map_with_path(one, model, is_leaf=lambda x: isinstance(x, nnx.Variable))

  return part(True), part(False)


def silenced(model: M) -> M:
  """The model with adapters that add nothing: what they were added to."""

  def one(variable):
    return jax.tree.map(jnp.zeros_like, variable) if isinstance(variable, Lora) else variable

  return jax.tree.map(one, model, is_leaf=lambda x: isinstance(x, nnx.Variable))


def join(trained: M, fixed: M | None) -> M:
  """The model that `split` took apart."""
  if fixed is None:
    return trained
  return jax.tree.map(lambda a, b: b if a is None else a, trained, fixed, is_leaf=lambda x: x is None)


def merge(model: M) -> M:
  """The model without adapters that computes the same: w + a·b·scale, added in float32."""

  def one(leaf):
    if not _is_linear(leaf) or leaf.lora is None:
      return leaf
    w, a, b = (x.astype(jnp.float32) for x in (leaf.w[...], leaf.lora.a[...], leaf.lora.b[...]))
    merged = w + jnp.matmul(a, b, precision='highest') * leaf.lora.scale
    return _changed(leaf, merged.astype(leaf.w.dtype), None)

  return jax.tree.map(one, model, is_leaf=_is_linear)


def _is_linear(x: Any) -> bool:
  return isinstance(x, Linear)


def _changed(linear: Linear, w: Array, adapter: Adapter | None) -> Linear:
  made = jax.tree.map(lambda leaf: leaf, linear)
  made.w, made.lora = nnx.Param(w), nnx.data(adapter)
  return made
