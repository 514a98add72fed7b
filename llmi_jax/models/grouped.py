"""One matrix product per expert over rows that are sorted by expert; no token is ever dropped.

Two ways, chosen by name (`Kind`), since none is fast everywhere:

ragged  `jax.lax.ragged_dot`, a kernel on TPU and GPU; on CPU it expands to all experts for all rows
blocks  rows in blocks of one expert each, a loop over the live blocks; what CPU uses
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from llmi_jax.models.linear import wide

Kind = Literal['ragged', 'blocks']


def kind_for(platform: str) -> Kind:
  """The way that suits a device's platform, such as `cpu` or `tpu`."""
  return 'blocks' if platform == 'cpu' else 'ragged'


class Plan(NamedTuple):
  """Where each of A assignments (a token and one of its experts) stands among M sorted rows.

  Attributes:
    slot: [A] int32, the row of an assignment; -1 where its expert is not here.
    assignment: [M] int32, the assignment of a row; -1 where the row is padding.
    sizes: [E] int32, rows per expert, each a multiple of the block size.
  """

  slot: Array
  assignment: Array
  sizes: Array


def block_size(kind: Kind, assignments: int, experts: int) -> int:
  """Rows per block: near the mean per expert, a power of two in [8, 128]; 1 for `ragged`."""
  if kind == 'ragged':
    return 1
  mean = max(1, assignments // experts)
  return min(128, max(8, 1 << (mean - 1).bit_length()))


def plan(experts: Array, count: int, block: int) -> Plan:
  """Sorts assignments by expert.

  Args:
    experts: [A] int32; `count` and above means that the expert is not here.
    count: E.
    block: each expert's rows are padded to a multiple of it.
  """
  total = experts.shape[0]
  rows = -(-(total + count * (block - 1)) // block) * block
  order = jnp.argsort(experts, stable=True).astype(jnp.int32)
  place = jnp.argsort(order).astype(jnp.int32)
  counts = jnp.sum(experts[:, None] == jnp.arange(count, dtype=experts.dtype)[None], 0, dtype=jnp.int32)
  sizes = (counts + block - 1) // block * block
  first = jnp.cumsum(counts) - counts  # among sorted assignments
  start = jnp.cumsum(sizes) - sizes  # among rows
  here = experts < count
  own = jnp.minimum(experts, count - 1)
  slot = jnp.where(here, start[own] + place - first[own], -1)
  row = jnp.arange(rows, dtype=jnp.int32)
  expert = jnp.minimum(jnp.searchsorted(start + sizes, row, side='right').astype(jnp.int32), count - 1)
  rank = row - start[expert]
  live = (rank < counts[expert]) & (row < jnp.sum(sizes))
  assignment = jnp.where(live, order[jnp.minimum(first[expert] + rank, total - 1)], -1)
  return Plan(slot, assignment, sizes)


@jax.custom_vjp
def take(x: Array, index: Array, inverse: Array) -> Array:
  """x[index], 0 where index is -1; its gradient is a gather by `inverse` rather than a scatter.

  Args:
    x: [A, D].
    index: [M] int32, each row of x at most once.
    inverse: [A] int32, where each row of x went; -1 for nowhere.
  """
  del inverse
  return jnp.where(index[:, None] >= 0, x[jnp.maximum(index, 0)], jnp.zeros((), x.dtype))


def _take_forward(x, index, inverse):
  return take(x, index, inverse), (index, inverse)


def _take_backward(kept, g):
  index, inverse = kept
  return take(g, inverse, index), None, None


take.defvjp(_take_forward, _take_backward)


def grouped_matmul(rows: Array, w: Array, sizes: Array, kind: Kind, block: int) -> Array:
  """Each expert's rows times its matrix.

  Args:
    rows: [M, D], sorted by expert, each expert's rows a multiple of `block`.
    w: [E, D, F].
    sizes: [E] int32.
    kind: see the module.
    block: rows per block.

  Returns:
    [M, F]; rows behind the last expert's are 0.
  """
  if kind == 'ragged':
    return jax.lax.ragged_dot(rows, w, sizes)
  return _blocks(rows, w, sizes, block)


def _owners(sizes: Array, blocks: int, block: int) -> tuple[Array, Array]:
  """The expert of each block, and how many blocks are live."""
  ends = jnp.cumsum(sizes) // block
  owner = jnp.searchsorted(ends, jnp.arange(blocks, dtype=jnp.int32), side='right').astype(jnp.int32)
  return jnp.minimum(owner, sizes.shape[0] - 1), ends[-1].astype(jnp.int32)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _blocks(rows: Array, w: Array, sizes: Array, block: int) -> Array:
  count = rows.shape[0] // block
  owner, live = _owners(sizes, count, block)

  def body(i, out):
    piece = jax.lax.dynamic_slice_in_dim(rows, i * block, block)
    made = jnp.matmul(piece, jax.lax.dynamic_index_in_dim(w, owner[i], 0, keepdims=False))
    return jax.lax.dynamic_update_slice_in_dim(out, made, i * block, 0)

  return jax.lax.fori_loop(0, live, body, jnp.zeros((rows.shape[0], w.shape[2]), rows.dtype))


def _blocks_forward(rows, w, sizes, block):
  return _blocks(rows, w, sizes, block), (rows, w, sizes)


def _blocks_backward(block, kept, g):
  rows, w, sizes = kept
  total = wide(w.dtype)
  count = rows.shape[0] // block
  owner, live = _owners(sizes, count, block)

  def body(i, dw):
    piece = jax.lax.dynamic_slice_in_dim(rows, i * block, block)
    grad = jax.lax.dynamic_slice_in_dim(g, i * block, block)
    return dw.at[owner[i]].add(jnp.matmul(piece.T, grad, preferred_element_type=total))

  dw = jax.lax.fori_loop(0, live, body, jnp.zeros(w.shape, total)).astype(w.dtype)
  return _blocks(g, jnp.swapaxes(w, 1, 2), sizes, block), dw, None


_blocks.defvjp(_blocks_forward, _blocks_backward)
