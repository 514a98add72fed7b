"""The memory that a run is reckoned to take, beside what its arrays really take."""

import jax
import pytest

from llmi_jax import budget, course, front, wiring
from llmi_jax.programs import generation
from llmi_jax.update import state as states

CONFIG = 'configs/grpo_tiny.py'


def config(*changes):
  return front.read(CONFIG, [f'--config.{change}' for change in changes])


def test_what_is_reckoned_from_shapes_is_what_arrays_take():
  chosen = config('sampler.tokens=256')
  policy = wiring.load_policy('builtin:tiny')
  parts = budget.parts(chosen, 'builtin:tiny')
  state = states.fresh(policy.model, wiring.optimizer(chosen))
  assert parts['parameters'] == parts['gradients'] == budget.size(policy.model)
  assert parts['moments'] == budget.size(state.optimizer)
  sizes = course.engine(chosen, policy).config
  replies = jax.eval_shape(lambda: generation.sampler(policy.config, sizes).storage(sizes.rows, 256))
  assert parts['reply cache'] == budget.size(replies)


def test_adapters_and_half_the_bytes_are_reckoned():
  whole, adapted = (budget.parts(config(*c), 'builtin:tiny') for c in ((), ('policy.lora.rank=8',)))
  assert adapted['moments'] < 0.2 * whole['moments'] and adapted['frozen parameters'] == whole['parameters']
  half = budget.parts(config('sampler.cache=bfloat16'), 'builtin:tiny')
  assert 2 * half['reply cache'] == whole['reply cache']


def test_backbones_are_known_without_their_weights():
  chosen = front.read('configs/grpo_4b.py', [])
  parts = budget.parts(chosen, 'Qwen3-4B')
  assert parts['parameters'] * jax.device_count() == pytest.approx(4 * 4.022e9, rel=0.01)


@pytest.mark.parametrize(
  ('changes', 'wanted'),
  [
    ((), 'policy.remat'),
    (('sampler.tokens=4096', 'optimizer.widths=(64,)'), 'sampler.rows'),
    (('policy.logits=100000000', 'sampler.tokens=8'), 'policy.logits'),
  ],
)
def test_the_keys_named_make_the_largest_part_smaller(changes, wanted):
  chosen = config(*changes)
  parts = budget.parts(chosen, 'builtin:tiny')
  keys = budget.keys(chosen, parts)
  assert 1 <= len(keys) <= 3 and wanted in {key.name for key in keys}
  least = config(*changes, *(f'{key.name}={key.value}' for key in keys))
  assert sum(budget.parts(least, 'builtin:tiny').values()) < sum(parts.values())
