"""Random keys that depend on what is sampled, never on how it is batched."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

STREAMS = {'train': 0, 'eval': 1, 'tts': 2, 'serve': 3, 'judge': 4, 'tool': 5, 'init': 6, 'warm': 7}
Stream = Literal['train', 'eval', 'tts', 'serve', 'judge', 'tool', 'init', 'warm']


@partial(jax.jit, static_argnames=('seed', 'stream'))
def row_keys(seed: int, stream: Stream, step: Array, tasks: Array, samples: Array) -> Array:
  """[B] threefry keys.

  Args:
    seed: of the run.
    stream: what the tokens are for.
    step: scalar int.
    tasks: [B] uint32, first 32 bits of SHA-256 of each task id.
    samples: [B] int32, the k-th sample of that task in the step.
  """
  base = jax.random.fold_in(jax.random.key(seed, impl='threefry2x32'), STREAMS[stream])
  base = jax.random.fold_in(base, step)

  def one(task, sample):
    return jax.random.fold_in(jax.random.fold_in(base, task), sample)

  return jax.vmap(one)(jnp.asarray(tasks, jnp.uint32), jnp.asarray(samples, jnp.uint32))
