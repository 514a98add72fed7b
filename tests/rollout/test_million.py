"""A million tokens in one process leave nothing behind."""

import asyncio
import gc
import pathlib
import resource

import jax
import pytest

from llmi_jax import front, judging, toolbox, wiring
from llmi_jax.data.builtin import generate
from llmi_jax.models import decoder
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Decoder
from llmi_jax.rollout.device import Device
from llmi_jax.rollout.rollout import Roller, rollout
from llmi_jax.rollout.timeline import Timeline
from llmi_jax.tools.registry import Context

CONFIG = str(pathlib.Path(__file__).resolve().parents[2] / 'configs' / 'grpo_tiny.py')
PROMPTS, SAMPLES, LENGTH = 16, 8, 256
COMPILATION = '/jax/core/compile/backend_compile_duration'


def resident():
  """Bytes of this process in memory."""
  pages = int(pathlib.Path('/proc/self/statm').read_text().split()[1])
  return pages * resource.getpagesize()


def small_policy():
  """The built-in policy's tokenizer with random weights of one narrow layer."""
  shipped = wiring.load_policy('builtin:tiny')
  shape = DecoderConfig(
    'Qwen3ForCausalLM',
    shipped.config.vocab,
    16,
    32,
    layers=1,
    heads=2,
    kv_heads=1,
    head_dim=8,
    max_length=512,
  )
  model = Decoder(shape, jax.random.key(0))
  return wiring.Policy(model, shape, shipped.tokenizer, shipped.folder)


@pytest.mark.slow
def test_a_million_tokens_leave_nothing_behind():
  config = front.read(CONFIG, [f'--config.sampler.tokens={LENGTH}'])
  policy, tasks = small_policy(), generate.tasks('train')
  taken, compiled = [], []
  note = lambda event, _, fun_name='', **__: compiled.append(fun_name) if event == COMPILATION else None
  jax.monitoring.register_event_duration_secs_listener(note)

  async def main():
    device = Device()
    try:
      async with toolbox.registry(config.tools, device) as registry:
        engine = wiring.engine(policy, config, PROMPTS, SAMPLES)
        roller = Roller(
          device,
          engine,
          wiring.language(policy, registry, config.prompt),
          wiring.scoring(
            toolbox.dispatcher(registry, config.tools), wiring.reward(config.reward), judging.programs(), 0
          ),
          0,
          LENGTH,
          wiring.sight(policy),
        )
        painter = registry.get('diffusion')
        assert painter
        await painter.call(
          {'prompt': 'a red apple'}, Context()
        )  # so that its program is there from the start
        params = await device.run(jax.jit(decoder.decode_view), policy.model)
        step = 0
        while engine.counts.tokens < 1_000_000:
          chosen = [tasks[(step * PROMPTS + i) % len(tasks)] for i in range(PROMPTS)]
          await rollout(roller, params, chosen, SAMPLES, step, 'train', Timeline())
          step += 1
          gc.collect()
          known = len(compiled), len(asyncio.all_tasks()), len(jax.live_arrays())
          taken.append((engine.counts.tokens, resident(), *known))
        return asyncio.all_tasks()
    finally:
      device.close()

  asyncio.run(main())
  early = next(i for i, one in enumerate(taken) if one[0] > 300_000)
  first, last = taken[early], taken[-1]
  assert compiled[first[2] :] == []
  assert last[3:] == first[3:], (first, last)  # open tasks, arrays on the device
  assert last[1] - first[1] < 16 << 20, (first, last)
