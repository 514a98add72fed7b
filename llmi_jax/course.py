"""What a run's config says of its course and its rollouts: steps, tasks, the engine and the view it reads."""

from collections.abc import Callable
from typing import Any

from llmi_jax import wiring
from llmi_jax.core.errors import ConfigError
from llmi_jax.core.task import Task
from llmi_jax.models.sharding import Layout
from llmi_jax.programs import generation
from llmi_jax.rollout.accord import Accord
from llmi_jax.sampling.engine import Engine
from llmi_jax.wiring import Config


def settle(config: Config) -> None:
  """Sets the steps of a config that counts passes over its tasks instead.

  Raises:
    DataError: the tasks cannot be read.
    ConfigError: they do not fill a step.
  """
  if not config.epochs:
    return
  found, prompts = len(wiring.load_tasks(config.data.train)), config.data.prompts
  if found < prompts:
    raise ConfigError(
      f'{config.data.train} has {found} tasks and a step takes {prompts}; lower config.data.prompts.'
    )
  config.steps = config.epochs * found // prompts


def tasks(config: Config) -> tuple[list[Task], list[Task]]:
  """Those that are trained on, and those that are evaluated.

  Raises:
    DataError: they cannot be read.
  """
  train, evaluated = wiring.load_tasks(config.data.train), wiring.load_tasks(config.data.eval)
  return train, evaluated[: config.eval.tasks or None]


def groups(config: Config) -> int:
  """Prompts whose responses are written at once.

  Raises:
    ConfigError: the rows do not hold all responses of a prompt.
  """
  rows, samples = config.sampler.rows, config.data.samples
  if not rows:
    return config.data.prompts
  if rows < samples:
    raise ConfigError(
      f'config.sampler.rows is {rows} and a prompt has {samples} responses; make it {samples} or more, or 0.'
    )
  return min(rows // samples, config.data.prompts)


def engine(
  config: Config, policy: wiring.Policy, layout: Layout | None = None, accord: Accord | None = None
) -> Engine:
  """The sampler of a run; see `wiring.engine`."""
  samples = config.data.samples
  return wiring.engine(policy, config, groups(config), samples, layout, accord)


def viewer(config: Config, policy: wiring.Policy, layout: Layout | None = None) -> Callable[[Any], Any]:
  """From what is trained to what the engine reads."""
  fixed = wiring.split(policy, config)[1]
  dtype = wiring.dtype(config, 'sampler.compute')
  return generation.viewer(fixed, dtype=dtype, config=policy.config, layout=layout)
