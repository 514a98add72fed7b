"""A run's config and a slice → the programs that it would run there, without weights and without devices."""

import dataclasses
import json
import math
import pathlib
from functools import partial
from typing import Any, cast

import jax

from llmi_jax import course, forms, pods, updating, wiring
from llmi_jax.core.errors import ConfigError
from llmi_jax.models import lora, vision_layout
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Decoder
from llmi_jax.models.registry import from_hf
from llmi_jax.models.sharding import Layout, shardings
from llmi_jax.programs import generating
from llmi_jax.programs import learning as learners
from llmi_jax.programs.program import Program
from llmi_jax.sampling.settings import EngineConfig
from llmi_jax.text.tokens import Tokenizer
from llmi_jax.update import state as states
from llmi_jax.wiring import Config

BACKBONES = wiring.ASSETS / 'backbones'


@dataclasses.dataclass(frozen=True)
class Words:
  """What programs need to know of a tokenizer.

  Attributes:
    vocab_size: of ids that may be drawn.
    stop_ids: as many as end a response.
    specials: others by name.
  """

  vocab_size: int
  stop_ids: tuple[int, ...] = (0, 1)
  specials: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Planned:
  """What is planned.

  Attributes:
    config: of the run.
    policy: with shapes in place of weights, placed as the learner has them.
    layouts: on the slice.
    processes: of the slice.
    picture: slots of the picture that every prompt is taken to hold; 0 for none.
  """

  config: Config
  policy: wiring.Policy
  layouts: pods.Layouts
  processes: int
  picture: int

  @property
  def samples(self) -> int:
    return self.config.data.samples

  @property
  def each(self) -> int:
    """Prompts of a step that one shard of the mesh has."""
    return -(-self.config.data.prompts // (self.processes * self.layouts.shards))


def shape(config: Config) -> DecoderConfig:
  """The policy's shape from its `config.json` alone.

  Raises:
    ConfigError: there is none.
  """
  path, form = config.policy.path, config.policy.form
  if form:
    return forms.shape(form)
  file = BACKBONES / f'{path}.json'
  if not file.is_file():
    file = wiring.policy_folder(path) / 'config.json'
  if not file.is_file():
    known = ', '.join(sorted(one.stem for one in BACKBONES.glob('*.json')))
    raise ConfigError(
      f'config.policy.path is {path}, which has no config.json; name a folder that has one, or one of '
      f'{known}.'
    )
  try:
    return from_hf(json.loads(pathlib.Path(file).read_text()))
  except json.JSONDecodeError as error:
    raise ConfigError(f'{file} is not JSON ({error}); restore it from where the weights came.') from error


def planned(config: Config, devices: Any, processes: int) -> Planned:
  """Places a run on devices.

  Raises:
    ConfigError: the config makes no sense there.
    ShardingError: the policy does not fit the mesh.
  """
  layouts, own = pods.layouts(config.mesh, devices, processes), shape(config)
  if config.data.prompts % processes:
    raise ConfigError(
      f'config.data.prompts is {config.data.prompts} and the slice has {processes} hosts; '
      'let their number divide it.'
    )
  model = jax.eval_shape(lambda: Decoder(own, jax.random.key(0)))
  chosen = config.policy.lora
  if chosen.rank:
    add = partial(lora.add, rank=chosen.rank, alpha=chosen.alpha, targets=chosen.targets)
    model = jax.eval_shape(add, model, jax.random.key(0))
  if layouts.train is not None:
    model = _placed(model, layouts.train, own)
  words = cast(Tokenizer, Words(own.vocab))
  policy = wiring.Policy(model, own, words, pathlib.Path(config.policy.path))
  # Pictures are learned from in one process only.
  return Planned(config, policy, layouts, processes, _picture(config, own) if processes == 1 else 0)


def _placed(tree: Any, layout: Layout, config: DecoderConfig) -> Any:
  def one(leaf: Any, where: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)

  return jax.tree.map(one, tree, shardings(tree, layout, config))


def _picture(config: Config, own: DecoderConfig) -> int:
  """Slots of the largest square picture that prompts may hold."""
  if own.vision is None or not config.prompt.pixels:
    return 0
  unit = own.vision.patch * own.vision.merge
  side = own.vision.merge * max(1, math.isqrt(config.prompt.pixels) // unit)
  return vision_layout.bucket((1, side, side), own.vision.windows)


def state(run: Planned) -> Any:
  """Shapes of what a checkpoint holds, placed."""
  params, optimizer = wiring.split(run.policy, run.config)[0], wiring.optimizer(run.config)
  found = jax.eval_shape(partial(states.fresh, optimizer=optimizer), params)
  if run.layouts.train is None:
    return found
  where = learners.state_shardings(found, run.policy.config, optimizer, run.layouts.train)
  return jax.tree.map(
    lambda leaf, own: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=own), found, where
  )


def fixed(run: Planned) -> Any:
  """Shapes of what is not trained; None if everything is."""
  return wiring.split(run.policy, run.config)[1]


def engine_sizes(run: Planned) -> EngineConfig:
  """Sizes of the engine, of all processes together."""
  config, layout = run.config, run.layouts.rollout
  shards = layout.size('batch') if layout else 1
  return wiring.engine_sizes(run.policy, config, course.groups(config), run.samples, shards)


def sampling(run: Planned, responses: tuple[int, ...]) -> tuple[Program, ...]:
  """Programs of the rollout, decoding at these many slots of responses."""
  params, rest = wiring.split(run.policy, run.config)
  return generating.programs(
    run.policy.config,
    engine_sizes(run),
    generating.Reach(run.config.prompt.tokens, responses, run.picture),
    params=params,
    fixed=rest,
    experts=wiring.experts_kind(run.layouts.rollout),
    layout=run.layouts.rollout,
  )


def learning(run: Planned, groups: int = 0, widths: tuple[int, ...] = ()) -> tuple[Program, ...]:
  """Programs of the update.

  Args:
    run: what is planned.
    groups: prompts of a micro-batch on each shard; 0: as many as the config's token budget allows.
    widths: of responses; empty: all of the config's.
  """
  config, policy, layout = run.config, run.policy, run.layouts.train
  params, rest = wiring.split(policy, config)
  sizes = updating.program_sizes(config, run.processes, run.layouts.shards)
  whole = groups * run.processes * run.layouts.shards
  chosen = tuple((w, whole or g) for w, g in sizes.groups if not widths or w in widths)
  sizes = dataclasses.replace(sizes, groups=chosen, picture=run.picture, shards=run.layouts.shards)
  reference = None
  if config.loss.kl and not lora.adapters(policy.model):
    half = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jax.numpy.bfloat16)
    reference = jax.tree.map(half, policy.model)
  return learners.programs(
    updating.learner(config, policy, layout),
    policy.config,
    wiring.optimizer(config),
    updating.goal(config, policy),
    sizes,
    params=params,
    fixed=rest,
    reference=reference,
    layout=layout,
  )
