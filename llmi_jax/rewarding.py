"""The reward that a config names, and what scores a response with it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from llmi_jax.core.answer import Answer
from llmi_jax.core.errors import ConfigError
from llmi_jax.core.reward import RewardParts
from llmi_jax.core.task import Task
from llmi_jax.judging import Bench
from llmi_jax.rewards import own, parts
from llmi_jax.rewards.facts import Measure
from llmi_jax.rewards.presets import PRESETS, Form, Preset
from llmi_jax.rl.gate import Weights, gated_reward
from llmi_jax.rollout.episode import Place, Scoring
from llmi_jax.tools import answer as answers
from llmi_jax.tools.dispatch import Dispatcher
from llmi_jax.tools.session import Session, SessionKey

Config = Any


def reward(config: Config) -> Preset:
  """The reward that a config names or spells out.

  Raises:
    ConfigError: a name or value is unknown.
  """
  measures, weights = own_terms(config.own)
  if config.preset in PRESETS:
    return dataclasses.replace(PRESETS[config.preset], extra=weights, own=measures)
  if config.preset != 'free':
    known = ', '.join((*PRESETS, 'free'))
    raise ConfigError(f'config.reward.preset is {config.preset!r}; known are {known}.')
  if config.no_image not in ('paper', 'released'):
    raise ConfigError(f'config.reward.no_image is {config.no_image!r}; known are paper and released.')
  extra = {name: weight for name, weight in config.extra.items() if weight}
  form = Form(no_image=config.no_image, text=config.text, tag=config.tag)
  return Preset(config.rule, config.llm, config.mllm, config.gate, form, extra | weights, measures)


def totals(chosen: Preset) -> Callable[[Sequence[RewardParts]], list[float | None]]:
  """A function from the parts of many answers to a reward each, None where a needed part is missing."""
  weights = Weights(chosen.rule, chosen.llm, chosen.mllm)
  extra = tuple(chosen.extra)

  def gate(values: Sequence[jax.Array]) -> jax.Array:
    further = [(chosen.extra[name], column) for name, column in zip(extra, values[3:])]
    rule, llm, mllm = values[:3]
    return gated_reward(rule, llm, mllm, weights, chosen.gate, further)

  compiled = jax.jit(gate)

  def total(taken: Sequence[RewardParts]) -> list[float | None]:
    terms = [[one.rule, one.llm, one.mllm, *one.extra] for one in taken]
    values = np.array([[np.nan if t.value is None else t.value for t in row] for row in terms], np.float32)
    columns = values.reshape(len(taken), 3 + len(extra)).T
    return [None if np.isnan(r) else float(r) for r in np.asarray(compiled(list(columns)))]

  return total


def scoring(tools: Dispatcher, chosen: Preset, bench: Bench, seed: int) -> Scoring:
  """Tools, judges and the gated reward."""

  def open_(task: Task, place: Place) -> Session:
    return tools.open(task, SessionKey(seed, place.step, f'{place.stream}/{task.id}', place.sample))

  def take_apart(task: Task, answer: Answer) -> RewardParts:
    return parts.reward_parts(task, answer, chosen.form, tuple(chosen.extra), chosen.own)

  return Scoring(
    open_,
    answers.compose,
    bench.judges,
    take_apart,
    totals(chosen),
    lambda: bench.gauges() | tools.gauges(),
    bench.examine,
  )


def own_terms(files: Sequence[tuple[str, float]]) -> tuple[dict[str, Measure], dict[str, float]]:
  """Measures and weights of the terms of one's own, by name.

  Raises:
    ConfigError: an entry is no pair of file and weight, or a file makes no term.
  """
  measures: dict[str, Measure] = {}
  weights: dict[str, float] = {}
  for entry in files:
    if not (isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[1], (int, float))):
      raise ConfigError(
        f'config.reward.own holds {entry!r}; each entry is a file and a weight, such as '
        "('docs/own_term/brevity.py', 0.1)."
      )
    name, measure = own.load(entry[0])
    measures[name], weights[name] = measure, float(entry[1])
  return measures, weights
