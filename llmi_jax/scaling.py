"""Test-time scaling for entry points: flags, the scaled policy, its folder, and stopping it.

`--tts=configs/tts_small.py` names the config, `--tts_set=sample.n=8` replaces a value of it.
"""

import asyncio
import contextlib
import dataclasses
import json
import pathlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import jax
from absl import flags

from llmi_jax import answering, crews, front, speaking
from llmi_jax.answering import Writing
from llmi_jax.core.errors import ConfigError
from llmi_jax.core.task import Task
from llmi_jax.crews import Materials
from llmi_jax.judges import local
from llmi_jax.rollout.batcher import Batcher
from llmi_jax.rollout.device import Device
from llmi_jax.rollout.speaker import Speaker
from llmi_jax.services import files
from llmi_jax.services.cache import Cache
from llmi_jax.services.completion import ChatReply, ChatRequest
from llmi_jax.services.journal import Journal
from llmi_jax.speaking import Limits as Sizes
from llmi_jax.text import conversation
from llmi_jax.tts.crew import Generate
from llmi_jax.tts.ledger import Complete
from llmi_jax.tts.pipeline import Result
from llmi_jax.wiring import Config, Policy

TTS = flags.DEFINE_string('tts', None, 'Test-time scaling: a config such as configs/tts_small.py.')
TTS_SET = flags.DEFINE_multi_string('tts_set', [], 'KEY=VALUE of that config; may be repeated.')
SETTINGS = 'settings.json'


def read() -> Config | None:
  """The config that the flags name; None where nothing is scaled.

  Raises:
    ConfigError: it cannot be read.
  """
  if not TTS.value:
    if TTS_SET.value:
      raise ConfigError(
        '--tts_set changes a value of --tts, which is not given; add --tts=configs/tts_small.py.'
      )
    return None
  return front.read(TTS.value, [f'--config.{change}' for change in TTS_SET.value])


@contextlib.asynccontextmanager
async def policy(
  config: Config,
  run: Config,
  loaded: Policy,
  device: Device,
  *,
  seed: int,
  journal: Journal | None = None,
  cache: Cache | None = None,
  origin: str = '',
  told: Callable[[Task, int, Result], None] | None = None,
  stop: asyncio.Event | None = None,
  judge: str = '',
) -> AsyncIterator[Generate]:
  """A policy on our own engine, scaled.

  Args:
    config: of scaling.
    run: of the policy: prompts, tools, lengths.
    loaded: weights, tokenizer and picture processor.
    device: the thread that it runs on.
    seed: of the waits between tries of tools.
    journal: keeps what tools and models reply.
    cache: of tools.
    origin: what answers are signed with.
    told: see `crews.opened`.
    stop: likewise.
    judge: likewise.
  """
  writing = Writing(config.sample.temperature, run.sampler.tokens, origin=origin, stream='tts')
  held = sizes(config, loaded, run)
  async with answering.workshop(run, device, writing, journal, cache, seed) as shop:
    async with speaking.batching(loaded, device, held, 'tts') as batcher:
      materials = Materials(
        answering.writer(loaded, batcher, shop, held),
        shop.registry,
        shop.dispatcher,
        shop.place,
        journal,
        speaker(batcher, loaded, held),
        flops_per_token(loaded),
      )
      async with crews.opened(config, materials, told, stop, judge) as generate:
        yield generate


def facts(config: Config) -> list[tuple[str, str]]:
  """What a table must say of answers that were scaled."""
  programs = config.selector.judges == 'offline'
  who = crews.PROGRAMS if programs else config.selector.remote.model or ', '.join(config.selector.remote.urls)
  found = [
    ('test-time scaling', ' '.join([TTS.value or '', *TTS_SET.value])),
    ('selector', f'{who}, by {config.select.by}'),
  ]
  insisted = 'it may be the judge that reports: whoever ran this insisted'
  return [*found, ('the selector', insisted)] if config.selector.insist else found


def speaker(batcher: Batcher, policy: Policy, sizes: Sizes) -> Complete:
  """The policy as one who answers chat requests, within what its engine holds."""
  speak = Speaker(
    batcher,
    lambda messages: conversation.encode(
      messages, policy.tokenizer, limit=sizes.prompt, processor=policy.processor
    ),
    policy.tokenizer.decode,
    2 * sizes.rows,
  )
  complete = local.complete(speak, policy.folder.name)

  async def ask(request: ChatRequest) -> ChatReply:
    # Draws need a seed of their own; the request's digest is one.
    seed = request.seed if request.seed is not None else int(request.digest('', 0)[:7], 16)
    most = min(request.max_tokens, sizes.response)
    return await complete(dataclasses.replace(request, max_tokens=most, seed=seed))

  return ask


def sizes(config: Config, policy: Policy, run: Config) -> Sizes:
  """What the policy's engine must hold for sampling, and for polishing and mending where it does that.

  Args:
    config: of scaling.
    policy: of the engine.
    run: the config that the policy was trained with.
  """
  prompt, response = run.prompt.tokens, run.sampler.tokens
  mends = config.enhance.on and config.enhance.repairer == 'policy'
  if mends or (config.polish.on and config.polish.by == 'policy'):
    longest = policy.config.max_length or 1 << 20
    response = max(response, min(config.polish.tokens, longest // 2))
    prompt = max(prompt, min(config.polish.prompt_tokens, longest - response))
  return Sizes(prompt, response, max(8, config.sample.n), config.sample.n)


def flops_per_token(policy: Policy) -> float:
  """2 × the parameters that a token meets: of experts those that are active, of embeddings the output's."""
  total, experts = 0.0, policy.config.experts
  for path, leaf in jax.tree_util.tree_leaves_with_path(policy.model):
    name = jax.tree_util.keystr(path)
    if '.tower' in name or (not policy.config.tied and name.startswith('.embedding')):
      continue
    share = experts.active / experts.count if experts and '.moe.' in name and 'router' not in name else 1.0
    total += share * leaf.size
  return 2 * total


def claim(folder: pathlib.Path, settings: Mapping[str, Any]) -> None:
  """Makes a folder that of these settings.

  Raises:
    ConfigError: it is another's.
    StorageError: it cannot be written.
  """
  path, text = folder / SETTINGS, json.dumps(settings, indent=2, sort_keys=True)
  if path.exists() and path.read_text() != text:
    old = json.loads(path.read_text())
    name = next((key for key in settings if old.get(key) != settings[key]), 'something')
    raise ConfigError(f'{folder} holds a scaling with another {name}; remove it, or write elsewhere.')
  files.write_atomically(path, text.encode())


@contextlib.contextmanager
def stopping() -> Iterator[asyncio.Event]:
  """An event that the first Ctrl-C or SIGTERM sets; the second one does as usual. Within a running loop."""
  loop, stop = asyncio.get_running_loop(), asyncio.Event()
  numbers = (signal.SIGINT, signal.SIGTERM)

  def hear() -> None:
    stop.set()
    for number in numbers:
      loop.remove_signal_handler(number)

  for number in numbers:
    loop.add_signal_handler(number, hear)
  try:
    yield stop
  finally:
    for number in numbers:
      loop.remove_signal_handler(number)
