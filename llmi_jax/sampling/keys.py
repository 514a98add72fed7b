"""Random keys that depend on what is sampled, never on how it is batched."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

STREAMS = {'train': 0, 'eval': 1, 'tts': 2, 'serve': 3, 'judge': 4, 'tool': 5, 'init': 6, 'warm': 7}
Stream = Literal['train', 'eval', 'tts', 'serve', 'judge', 'tool', 'init', 'warm']


def row_keys(seed: int, stream: Stream, step: ArrayLike, tasks: ArrayLike, samples: ArrayLike) -> Array:
  """[B] threefry keys. Compiled once per B: a server sees a new seed with every request.

  Args:
    seed: of the run; its lowest 32 bits count.
    stream: what the tokens are for.
    step: scalar int.
    tasks: [B] uint32, first 32 bits of SHA-256 of each task id.
    samples: [B] int32, the k-th sample of that task in the step.
  """
  return _row_keys(np.uint32(seed & 0xFFFFFFFF), np.uint32(STREAMS[stream]), step, tasks, samples)


@jax.jit
def _row_keys(seed: Array, stream: Array, step: Array, tasks: Array, samples: Array) -> Array:
  base = jax.random.fold_in(jax.random.key(seed, impl='threefry2x32'), stream)
  base = jax.random.fold_in(base, step)

  def one(task, sample):
    return jax.random.fold_in(jax.random.fold_in(base, task), sample)

  return jax.vmap(one)(jnp.asarray(tasks, jnp.uint32), jnp.asarray(samples, jnp.uint32))
