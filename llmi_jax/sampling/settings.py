"""An engine's static sizes."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from llmi_jax.core.errors import ConfigError
from llmi_jax.sampling.logits import Sampling
from llmi_jax.sampling.logits import check as check_sampling
from llmi_jax.sampling.places import Places


@dataclasses.dataclass(frozen=True)
class EngineConfig:
  """Static sizes of an engine.

  Attributes:
    rows: B, responses that are decoded together, by all processes.
    samples: R, most responses of one prompt among them.
    prompt_slots: longest prompt, in tokens.
    response_slots: longest response, in tokens.
    vocab: V.
    width: D.
    stops: token ids that end a response.
    banned: token ids that are never drawn.
    prompts: most prompts that are kept; 0 takes three times what rows ask for, since the last response of a
      prompt outlives the others. It begins with what rows ask for.
    chunk: most tokens per row between two looks of the host.
    prefill_tokens: most tokens of a prompt that are prefilled between two looks.
    prefill_prompts: prompts that are prefilled together.
    packing: rows under way are packed into a state of fewer once no more than one in so many is left and none
      waits, and once more; 1 never.
    first_bucket: least slots of prompts and of responses; more are doubled as they are needed.
    sampling: how tokens are drawn.
    dtype: of hidden states.
    cache: dtype of keys and values; None for that of hidden states.
    shards: J, pieces of the mesh's data axes.
  """

  rows: int
  samples: int
  prompt_slots: int
  response_slots: int
  vocab: int
  width: int
  stops: tuple[int, ...]
  banned: tuple[int, ...] = ()
  prompts: int = 0
  chunk: int = 16
  prefill_tokens: int = 1024
  prefill_prompts: int = 8
  packing: int = 4
  first_bucket: int = 128
  sampling: Sampling = Sampling()
  dtype: Any = jnp.float32
  cache: Any = None
  shards: int = 1

  @property
  def first_prompts(self) -> int:
    """P at first, a multiple of the shards."""
    wanted = -(-self.rows // self.samples)
    return -(-min(wanted, self.prompts or wanted) // self.shards) * self.shards

  @property
  def most_prompts(self) -> int:
    """P at most, likewise."""
    return -(-(self.prompts or 3 * self.first_prompts) // self.shards) * self.shards

  @property
  def most_width(self) -> int:
    """Of a chunk of prefill, in tokens."""
    return min(self.prefill_tokens, self.prompt_slots)

  @property
  def prompts_together(self) -> int:
    """Prompts of one shard that are prefilled together, at most."""
    return max(1, self.prefill_prompts // self.shards)

  def packed(self, count: int) -> int:
    """The fewest rows of a shard that hold `count` of them and are worth a program of their own."""
    whole = self.rows // self.shards
    sizes = (whole, -(-whole // self.packing), -(-whole // self.packing**2))
    return min(size for size in sizes if size >= count)

  def bucket(self, count: int, most: int) -> int:
    """The smallest of `first_bucket`, twice, four times … that holds `count`, at most `most`."""
    size = self.first_bucket
    while size < count:
      size *= 2
    return min(size, most)


def check(config: EngineConfig, places: Places) -> None:
  """Refuses sizes that do not fit each other.

  Raises:
    ConfigError: naming them.
  """
  check_sampling(config.sampling)
  least = (
    config.rows,
    config.samples,
    config.chunk,
    config.prefill_tokens,
    config.prefill_prompts,
    config.packing,
  )
  if min(least) < 1:
    raise ConfigError(
      f'An engine needs at least one row, sample and token per look, and packing from 1 on; it has {config}.'
    )
  if places.mesh is not None and places.shards != config.shards:
    raise ConfigError(f'The mesh cuts rows into {places.shards} shards and the engine into {config.shards}.')
  if config.rows % config.shards or config.samples > config.rows // config.shards:
    raise ConfigError(
      f'{config.rows} rows in {config.shards} shards do not hold {config.samples} samples of a prompt; '
      'give each shard rows for all of them.'
    )
