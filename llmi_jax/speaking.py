"""A policy that answers conversations: behind the chat protocol, or as a judge in this process."""

import asyncio
import contextlib
import dataclasses
import pathlib
from collections.abc import AsyncIterator, Callable
from functools import partial

import jax
from ml_collections import ConfigDict

from llmi_jax import wiring
from llmi_jax.checkpoint.digest import digest
from llmi_jax.core.errors import ConfigError
from llmi_jax.judging import Local
from llmi_jax.models import decoder
from llmi_jax.rollout.batcher import Batcher
from llmi_jax.rollout.device import Device
from llmi_jax.rollout.speaker import Speaker
from llmi_jax.sampling.engine import Engine
from llmi_jax.sampling.keys import Stream
from llmi_jax.text import conversation


@dataclasses.dataclass(frozen=True)
class Limits:
  """Sizes that engines are built with.

  Attributes:
    prompt: most tokens that are read.
    response: most tokens of a reply.
    rows: replies that are decoded together.
    samples: most replies to one prompt among them, which share its reading.
  """

  prompt: int
  response: int
  rows: int
  samples: int = 1


def load(path: str, pixels: int = 0) -> wiring.Policy:
  """The policy of a work folder (its newest checkpoint), or of a folder of weights.

  Args:
    path: of the folder, or `builtin:NAME`.
    pixels: see `wiring.load_policy`; a work folder has its own.
  """
  if (pathlib.Path(path) / 'checkpoints').is_dir():
    return wiring.trained(path)[1]
  return wiring.load_policy(path, pixels)


@contextlib.asynccontextmanager
async def batching(
  policy: wiring.Policy, device: Device, limits: Limits, stream: Stream = 'serve'
) -> AsyncIterator[Batcher]:
  """A batcher at work over the policy; leaving stops it."""
  params = await device.run(jax.jit(decoder.decode_view), policy.model)
  batcher = Batcher(device, _engines(policy, limits), params, wiring.sight(policy), stream)
  working = asyncio.ensure_future(batcher.run())
  try:
    yield batcher
  finally:
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


@contextlib.asynccontextmanager
async def judge(config: wiring.Config, device: Device) -> AsyncIterator[Local | None]:
  """The model that judges in this process, where `config.reward` wants one.

  Args:
    config: of the reward.
    device: the thread that the policy's own engine runs on, too; the two take turns.

  Raises:
    ConfigError: no model is named.
    WeightsError: it cannot be loaded.
  """
  if config.judges != 'local':
    yield None
    return
  if not config.local.path:
    raise ConfigError("config.reward.local.path is empty; name the judging model's folder, or builtin:tiny.")
  policy = load(config.local.path, config.local.pixels)
  response = max(one.tokens for one in (config.remote.llm, config.remote.mllm))
  limits = Limits(config.local.prompt_tokens, response, config.local.rows)
  read = partial(
    conversation.encode,
    tokenizer=policy.tokenizer,
    limit=limits.prompt,
    processor=policy.processor,
  )
  # What stands in verdicts and in the keys of their cache: other weights are another judge.
  made = await device.run(digest, policy.model)
  async with batching(policy, device, limits, 'judge') as batcher:
    speaker = Speaker(batcher, read, policy.tokenizer.decode, 2 * limits.rows)
    yield Local(speaker, f'{policy.folder.name}@{made[:12]}', policy.processor is not None)


def _engines(policy: wiring.Policy, limits: Limits) -> Callable[[float], Engine]:
  """A function that builds an engine for a temperature."""

  def make(temperature: float) -> Engine:
    sampler = {'temperature': temperature, 'tokens': limits.response, 'chunk': 8}
    sampler |= {'compute': 'float32', 'cache': 'float32'}
    config = ConfigDict({'prompt': {'tokens': limits.prompt}, 'sampler': sampler})
    return wiring.engine(policy, config, max(1, limits.rows // limits.samples), limits.samples)

  return make
