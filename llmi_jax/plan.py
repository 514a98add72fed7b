"""Says before a slice is rented whether a run fits it and how long its steps would take at best.

    python -m llmi_jax.plan --config=configs/grpo_4b.py --topology=v5p:4x4x4
    python -m llmi_jax.plan --topology=help

Compiles the very programs that a run would run, for devices that are not there: with libtpu for TPUs, which
needs no TPU; for `h200:8` and `cpu:8` with this host's compiler, on as many host devices. The policy's shape
comes from its `config.json` alone. Exit code 2, with one sentence, if something does not fit.
"""

import sys

from absl import flags

from llmi_jax import front, measuring, planned, wiring
from llmi_jax.core.errors import ConfigError
from llmi_jax.measuring import Found, Lengths
from llmi_jax.planned import Planned
from llmi_jax.planning import account, hardware, known, page, topology
from llmi_jax.planning.topology import Slice
from llmi_jax.wiring import Config

TOPOLOGY = flags.DEFINE_string('topology', 'help', 'CHIP:SHAPE, such as v5p:4x4x4 or cpu:8; help lists them.')
PROMPT = flags.DEFINE_integer('mean_prompt', 0, 'Tokens of a prompt that times are told for; 0: the longest.')
RESPONSE = flags.DEFINE_integer('mean_response', 0, 'Tokens of a response, likewise.')

# What to change where a kind of memory is too large.
MEND = {
  'parameters': 'take more chips, or train adapters (policy.lora.rank)',
  'optimizer': 'take more chips, or set optimizer.offload=True or optimizer.moments=bfloat16_first',
  'gradients': 'take more chips, or train adapters (policy.lora.rank)',
  'weights for sampling': 'raise mesh.tensor or mesh.expert, or set sampler.compute=bfloat16',
  'cache of prompts': 'lower sampler.rows or prompt.tokens',
  'cache of responses': 'lower sampler.rows or sampler.tokens',
  'temporaries': 'raise mesh.tensor, set mesh.sequence and policy.remat=full, or lower sampler.tokens',
}


def main(config: Config) -> None:
  """Plans and prints."""
  if TOPOLOGY.value == 'help' or not config:
    print(hardware.known())
    return
  topology.prepare(TOPOLOGY.value)
  place = topology.find(TOPOLOGY.value)
  run = planned.planned(config, place.devices, place.processes)
  longest = Lengths(config.prompt.tokens, config.sampler.tokens)
  mean = Lengths(*(min(one or most, most) for one, most in zip((PROMPT.value, RESPONSE.value), longest)))
  tell = lambda words: print(words, file=sys.stderr, flush=True)
  found = measuring.measured(run, place, mean, tell)
  print(told(run, place, mean, found))
  check(place, found)


def told(run: Planned, place: Slice, mean: Lengths, found: Found) -> str:
  """The plan as text."""
  chip = place.chip
  mesh = run.layouts.train.mesh if run.layouts.train else None
  axes = ', '.join(f'{axis} {size}' for axis, size in mesh.shape.items()) if mesh else 'one device'
  versions = ', '.join(f'{name} {known.version(name)}' for name in known.COMPILERS)
  parts = [
    f'{run.policy.folder.name} on {place.name}: {len(place.devices)} devices of {chip.memory / page.GIB:.2f} '
    f'GiB in {place.processes} processes; mesh: {axes}. {versions}.',
    page.memory(found.phases, chip),
    budget(run, found),
    page.times(found.runs, chip),
    summary(run, mean, found, chip),
    provenance(run, place),
  ]
  return '\n\n'.join(parts)


def budget(run: Planned, found: Found) -> str:
  """A sentence on the largest micro-batch."""
  config = run.config
  group = config.prompt.tokens + run.samples * config.sampler.tokens
  if not found.groups:
    return (
      f'Not even a micro-batch of one prompt with its {run.samples} longest responses ({group} tokens) could '
      'be compiled to fit.'
    )
  words = f'Largest micro-batch: {found.groups} prompts per shard with their {run.samples} longest responses'
  words += f', optimizer.tokens={found.groups * group}'
  return f'{words}; a shard has {run.each} a step' + (
    ', so all go at once.' if found.groups == run.each else '.'
  )


def summary(run: Planned, mean: Lengths, found: Found, chip: hardware.Chip) -> str:
  """Seconds of a step."""
  parts = page.step(found.runs, chip)
  words = ', '.join(f'{name} {value:.3g} s' for name, value in parts.items())
  rows = run.config.data.prompts * run.samples
  return (
    f'A step at best: {sum(parts.values()):.3g} s ({words}), for {run.config.data.prompts} prompts of '
    f'{mean.prompt} tokens with {run.samples} responses of {mean.response} each: '
    f'{rows * mean.response / sum(parts.values()):.4g} tokens of responses a second.'
  )


def provenance(run: Planned, place: Slice) -> str:
  """What is measured, counted and estimated."""
  compiler = (
    'that of the chip'
    if place.exact
    else "this host's, so that its layouts and temporaries are not the chip's"
  )
  words = [
    f'Measured: the memory of each compiled program; the compiler is {compiler}.',
    'Counted: operations in the traced program (matrix products, recomputation included); bytes in the '
    'compiled one, loops as often as they run, a fusion reading each operand once.',
    "Estimated: seconds, the longest of operations, memory and links at their makers' speeds, and the links "
    'between chips as one ring in both directions; tools, judges, the host and what rows wait for each other '
    'are not in them.',
  ]
  if wiring.optimizer(run.config).offload:
    away = account.held(planned.state(run).optimizer) / page.GIB
    words.append(
      f"Moments wait in the host's memory, {away:.3g} GiB per chip, and come for the update alone."
    )
  if run.policy.config.vision is not None:
    words.append(
      f'Every prompt is taken to hold one picture of {run.picture} patches.'
      if run.picture
      else 'Pictures are left out: they are learned from in one process only.'
    )
  return '\n'.join(f'- {word}' for word in words)


def check(place: Slice, found: Found) -> None:
  """Refuses what does not fit.

  Raises:
    ConfigError: naming the largest part and the keys to change.
  """
  for phase in found.phases:
    if phase.total > place.chip.memory:
      kind = max(phase.parts, key=lambda name: phase.parts[name])
      raise ConfigError(
        f'{phase.name.capitalize()} needs {phase.total / page.GIB:.1f} GiB of the '
        f'{place.chip.memory / page.GIB:.1f} that a {place.chip.name} has, most of it '
        f'{kind} ({phase.parts[kind] / page.GIB:.1f}); {MEND[kind]}.'
      )


if __name__ == '__main__':
  front.run(main, config_required=False)
