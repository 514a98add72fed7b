"""Who is told of a run, from its config: the screen, sinks, and what steps are measured with."""

import contextlib
import logging
import pathlib
import resource
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax

from llmi_jax import compilation
from llmi_jax.core.errors import ConfigError
from llmi_jax.models.config import DecoderConfig
from llmi_jax.run import Audience
from llmi_jax.sinks import online
from llmi_jax.sinks.board import Board
from llmi_jax.sinks.sink import Sink, Sinks
from llmi_jax.sinks.trace import Trace
from llmi_jax.terminal import speed
from llmi_jax.terminal.compiles import Compiles
from llmi_jax.terminal.diversion import Diversion, diverted
from llmi_jax.terminal.screen import Handler, Screen
from llmi_jax.wiring import Config

_PACKAGE = 'llmi_jax'
OWN = ('tensorboard', 'trace')


@contextlib.contextmanager
def gathered() -> Iterator[tuple[Diversion, Screen, Compiles]]:
  """The screen, which others' noise is kept from, and which hears this package's words and compilations."""
  logger = logging.getLogger(_PACKAGE)
  with diverted() as diversion:
    screen = Screen(diversion.stream)
    compiles, handler = Compiles(screen), Handler(screen)
    logger.addHandler(handler)
    try:
      with compilation.listening(compiles):
        yield diversion, screen, compiles
    finally:
      logger.removeHandler(handler)


def trackers(config: Config) -> dict[str, Any]:
  """The modules of the trackers that a config names.

  Raises:
    ConfigError: a name is unknown, or what it names is not installed.
  """
  known = (*OWN, *online.NAMES)
  for name in config.sinks.names:
    if name not in known:
      raise ConfigError(f'config.sinks.names has {name!r}; known are {", ".join(known)}.')
  return {name: online.load(name) for name in config.sinks.names if name in online.NAMES}


def sinks(config: Config, workdir: pathlib.Path, process: int = 0) -> Sinks:
  """The sinks that a config names. Processes behind the first have their trace alone."""
  makers: dict[str, Callable[[], Sink]] = {
    'tensorboard': partial(Board, workdir / 'tb'),
    'trace': partial(Trace, workdir / 'trace' / f'process={process}'),
  }
  for name, module in trackers(config).items() if not process else ():
    makers[name] = partial(online.Online, module, workdir, config.to_dict())
  named = [name for name in config.sinks.names if name in makers and (name == 'trace' or not process)]
  return Sinks({name: makers[name] for name in named})


def audience(
  config: Config,
  workdir: pathlib.Path,
  screen: Screen,
  compiles: Compiles,
  shape: DecoderConfig,
  process: int,
) -> Audience:
  """Of a run whose policy has a shape."""
  kind = jax.local_devices()[0].device_kind
  each, devices = speed.peak(kind), jax.local_device_count()
  if each is None:
    screen.say(f'MFU is n/a: no peak is known of {kind}.')
  params = active(shape)

  def used(seconds: float, tokens: int) -> float | None:
    return None if each is None else speed.utilization(params, tokens, seconds, devices, each)

  return Audience(screen, sinks(config, workdir, process), compiles, used, memory)


def active(shape: DecoderConfig) -> int:
  """Parameters of the matrices that a token passes, the unembedding included and the tower left out."""
  heads = shape.head_dim * (2 * shape.heads + 2 * shape.kv_heads)
  ff = shape.ff if shape.experts is None else shape.experts.active * shape.experts.ff
  return shape.layers * shape.width * (heads + 3 * ff) + shape.width * shape.vocab


def memory() -> float:
  """GiB at most so far, of the first device; of this process where devices do not tell."""
  stats = jax.local_devices()[0].memory_stats()
  if stats and 'peak_bytes_in_use' in stats:
    return stats['peak_bytes_in_use'] / 2**30
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
