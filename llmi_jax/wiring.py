"""Builds the parts that entry points share from a config's plain values. Nothing below here sees a config."""

import dataclasses
import json
import pathlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from llmi_jax import offload
from llmi_jax.checkpoint.checkpoints import Checkpoints, abstract
from llmi_jax.core.errors import CheckpointError, ConfigError, WeightsError
from llmi_jax.core.task import Task
from llmi_jax.data import tasks
from llmi_jax.models import decoder, grouped, lora
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Decoder
from llmi_jax.models.sharding import Layout, shardings
from llmi_jax.programs import generation, learning
from llmi_jax.rollout.accord import Accord
from llmi_jax.rollout.rollout import Language
from llmi_jax.rollout.sight import Eyes, Sight
from llmi_jax.sampling import rounds
from llmi_jax.sampling.engine import Engine
from llmi_jax.sampling.logits import Sampling
from llmi_jax.sampling.settings import EngineConfig
from llmi_jax.terminal import transfer
from llmi_jax.text import grammar, pictures, prompts, tokens
from llmi_jax.text.pictures import Processor
from llmi_jax.text.reader import Reader
from llmi_jax.text.tokens import Tokenizer
from llmi_jax.tools.registry import Registry
from llmi_jax.update import state as states
from llmi_jax.update.optimizer import Optimizer
from llmi_jax.update.state import TrainState
from llmi_jax.weights import load

# A ConfigDict; its values' types are only known to its file, so checkers must not guess.
Config = Any
ASSETS = pathlib.Path(__file__).parent / 'assets'
DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class Policy:
  """A policy and what reads and writes for it.

  Attributes:
    model: parameters.
    config: its shape.
    tokenizer: its tokenizer.
    folder: where it came from.
    processor: cuts pictures for one that sees; None for one that only reads.
  """

  model: Decoder
  config: DecoderConfig
  tokenizer: Tokenizer
  folder: pathlib.Path
  processor: Processor | None = None


def policy_folder(path: str) -> pathlib.Path:
  """A policy's folder: `builtin:NAME`, a Hugging Face folder, or a work folder that exported one."""
  if path.startswith('builtin:'):
    folder = ASSETS / path.removeprefix('builtin:')
    if not folder.is_dir():
      names = ', '.join(
        f'builtin:{p.name}' for p in sorted(ASSETS.iterdir()) if (p / 'config.json').is_file()
      )
      raise ConfigError(f'There is no policy {path}; known are {names}.')
    return folder
  return pathlib.Path(path)


def policy_source(config: Config, workdir: pathlib.Path) -> str:
  """Where a run's policy comes from: the configured place, or its own folder if it was made there."""
  made = config.policy.rebuild or config.policy.get('form')
  return str(workdir / 'policy') if made else config.policy.path


def load_policy(path: str, pixels: int = 0, layout: Layout | None = None) -> Policy:
  """Model, tokenizer and picture processor of a folder.

  Args:
    path: see `policy_folder`.
    pixels: larger pictures are scaled down to it, for a policy that sees; 0 leaves the folder's own limit.
    layout: where the model goes; None is one device.

  Raises:
    WeightsError: a part is broken, or the parts do not belong together.
    ShardingError: the model does not fit the mesh.
  """
  folder = policy_folder(path)
  config = load.read_config(folder)
  tokenizer = tokens.load(folder)
  check_tokenizer(tokenizer, config, folder)
  processor = None
  if config.vision is not None:
    processor = pictures.load(folder, pixels or None)
    check_processor(processor, tokenizer, config, folder)
  with transfer.Transfer(f'Loading {folder.name}') as progress:
    model, config = load.load_pretrained(folder, layout, progress=progress)
  return Policy(model, config, tokenizer, folder, processor)


def check_processor(
  processor: Processor, tokenizer: Tokenizer, config: DecoderConfig, folder: pathlib.Path
) -> None:
  """Refuses a picture processor or tokenizer that the vision tower cannot have been trained with."""
  assert config.vision is not None
  for name in ('patch', 'merge', 'frames'):
    ours, towers = getattr(processor, name), getattr(config.vision, name)
    if ours != towers:
      raise WeightsError(
        f'The picture processor in {folder} has {name} {ours} and the vision tower {towers}; '
        'restore preprocessor_config.json from where the weights came.'
      )
  if tokenizer.image_pad_id != config.image_token:
    raise WeightsError(
      f'The tokenizer in {folder} gives image tokens the id {tokenizer.image_pad_id} and the model '
      f'{config.image_token}; use the tokenizer that came with the weights.'
    )


def with_adapters(policy: Policy, config: Config, layout: Layout | None = None) -> Policy:
  """The policy with fresh LoRA adapters, if a run's config asks for them, where `layout` wants them.

  Raises:
    ConfigError: a target names nothing in the model.
  """
  chosen = config.policy.lora
  if not chosen.rank:
    return policy

  def add(model: Decoder) -> Decoder:
    key = jax.random.key(config.seed)
    return lora.add(model, key, chosen.rank, chosen.alpha, chosen.targets)

  if layout is None:
    return dataclasses.replace(policy, model=add(policy.model))
  where = shardings(jax.eval_shape(add, policy.model), layout, policy.config)
  return dataclasses.replace(policy, model=jax.jit(add, donate_argnums=0, out_shardings=where)(policy.model))


def fresh_state(params: Any, policy: Policy, chosen: Optimizer, layout: Layout | None = None) -> TrainState:
  """A state before the first step, where `layout` wants it; `params` are given away."""
  make = partial(states.fresh, optimizer=chosen)
  if layout is None:
    state = make(params)
  else:
    where = learning.state_shardings(jax.eval_shape(make, params), policy.config, chosen, layout)
    state = jax.jit(make, donate_argnums=0, out_shardings=where)(params)
  return state._replace(optimizer=offload.away(state.optimizer)) if chosen.offload else state


def check_tokenizer(tokenizer: Tokenizer, config: DecoderConfig, folder: pathlib.Path) -> None:
  """Refuses a tokenizer that the model cannot have been trained with."""
  if tokenizer.vocab_size > config.vocab:
    raise WeightsError(
      f'The tokenizer in {folder} has {tokenizer.vocab_size} tokens and the model {config.vocab} rows; '
      'use the tokenizer that came with the weights.'
    )
  stored = json.loads((folder / 'config.json').read_text()).get('tokenizer_digest')
  if stored and stored != tokenizer.digest:
    raise WeightsError(
      f'The tokenizer in {folder} is not the one its policy was trained with; restore tokenizer.json.'
    )


def load_tasks(source: str) -> list[Task]:
  """Tasks of `PATH` or `PATH:SPLIT`; PATH is a parquet file or `builtin`.

  Raises:
    DataError: the file cannot be read, or has no row of the split.
  """
  path, _, split = source.partition(':')
  return tasks.load(path, split or None)


def language(policy: Policy, registry: Registry, config: Config) -> Language:
  """Prompts and documents for a policy and its tools."""
  template = prompts.load_template(config.template)
  specs, tokenizer = registry.specs, policy.tokenizer
  return Language(
    prompt=lambda task: prompts.render(
      task, tokenizer, specs, template, limit=config.tokens, processor=policy.processor
    ),
    decode=tokenizer.decode,
    parse=lambda response, inputs: grammar.parse(response, specs, inputs),
    read=lambda inputs: Reader(tokenizer.decoder(), grammar.Parser(specs, inputs)),
    locate=tokenizer.token_ranges,
  )


def dtype(config: Config, key: str) -> Any:
  """The dtype that `key`, such as `policy.compute`, names.

  Raises:
    ConfigError: it names none.
  """
  section, _, name = key.partition('.')
  chosen = config[section][name]
  if chosen not in DTYPES:
    raise ConfigError(f'config.{key} is {chosen!r}; known are {", ".join(DTYPES)}.')
  return DTYPES[chosen]


def engine(
  policy: Policy,
  config: Config,
  groups: int,
  samples: int,
  layout: Layout | None = None,
  accord: Accord | None = None,
) -> Engine:
  """A sampler for the policy, `groups` prompts × `samples` rows.

  Args:
    policy: what samples.
    config: of the run.
    groups: of all processes together.
    samples: per prompt.
    layout: mesh and rules of generation; None is one device.
    accord: the processes that share the mesh.
  """
  sizes = engine_sizes(policy, config, groups, samples, layout.size('batch') if layout else 1)
  model = generation.sampler(policy.config, sizes, experts=experts_kind(layout), layout=layout)
  agree = accord.agree if accord else rounds.alone
  return Engine(model, sizes, generation.places(layout), agree)


def engine_sizes(policy: Policy, config: Config, groups: int, samples: int, shards: int) -> EngineConfig:
  """The static sizes of `engine`."""
  shape, tokenizer = policy.config, policy.tokenizer
  return EngineConfig(
    # Every shard has rows for whole prompts, though some may stay empty.
    rows=-(-groups // shards) * shards * samples,
    samples=samples,
    prompt_slots=config.prompt.tokens,
    response_slots=config.sampler.tokens,
    chunk=config.sampler.chunk,
    vocab=shape.vocab,
    width=shape.width,
    stops=tokenizer.stop_ids,
    banned=banned_ids(policy),
    sampling=Sampling(config.sampler.temperature),
    dtype=dtype(config, 'sampler.compute'),
    cache=dtype(config, 'sampler.cache'),
    shards=shards,
  )


def experts_kind(layout: Layout | None = None) -> grouped.Kind:
  """How experts are multiplied on the devices of a mesh; without one, on this process's."""
  device = jax.devices()[0] if layout is None else layout.mesh.devices.flat[0]  # pyright: ignore
  return grouped.kind_for(device.platform)


def sight(policy: Policy) -> Sight:
  """Prompts → requests, with what the policy sees of their pictures."""
  shape = policy.config
  if shape.vision is None:
    return Sight()
  return Sight(Eyes(partial(decoder.see, config=shape), shape.vision, shape.image_token))


def banned_ids(policy: Policy) -> tuple[int, ...]:
  """Tokens that are never drawn: special ones that do not stop, and rows beyond the tokenizer."""
  special = set(policy.tokenizer.specials.values()) - set(policy.tokenizer.stop_ids)
  return tuple(sorted(special | set(range(policy.tokenizer.vocab_size, policy.config.vocab))))


def banned_mask(policy: Policy) -> np.ndarray:
  """[V] bool, the same as a mask."""
  mask = np.zeros(policy.config.vocab, bool)
  mask[list(banned_ids(policy))] = True
  return mask


def optimizer(config: Config) -> Optimizer:
  """AdamW as a run's config has it."""
  chosen = config.optimizer
  return Optimizer(
    chosen.learning_rate,
    chosen.warmup,
    config.steps * chosen.updates,
    final=chosen.final,
    weight_decay=chosen.weight_decay,
    clip=chosen.clip,
    b1=chosen.b1,
    b2=chosen.b2,
    moments=chosen.moments,
    # Runs of before it existed have no such key.
    offload=chosen.get('offload', False),
  )


def split(policy: Policy, config: Config) -> tuple[Decoder, Decoder | None]:
  """What a run trains of its policy and what it does not; see `models.lora.split`.

  Raises:
    ConfigError: something that is to stay as it is has a name that the policy does not know.
  """
  return lora.split(policy.model, tuple(config.policy.frozen))


def trained(path: str) -> tuple[Config, Policy]:
  """A work folder's config and its policy as the newest checkpoint has it.

  Raises:
    ConfigError: the folder is no work folder.
    CheckpointError: it has no whole checkpoint yet.
  """
  stored = pathlib.Path(path) / 'config.json'
  if not stored.is_file():
    raise ConfigError(f'{path} is no work folder: it has no config.json; give the --workdir of a run.')
  config: Config = ConfigDict(json.loads(stored.read_text()))
  source = policy_source(config, pathlib.Path(path))
  policy = with_adapters(load_policy(source, config.prompt.pixels), config)
  params, fixed = split(policy, config)
  checkpoints = Checkpoints(pathlib.Path(path) / 'checkpoints')
  found = checkpoints.restore(abstract(states.fresh(params, optimizer(config))))
  checkpoints.close()
  if found is None:
    raise CheckpointError(f'{path} has no checkpoint yet; wait for one, or train first.')
  return config, dataclasses.replace(policy, model=lora.join(found.state.params, fixed))
