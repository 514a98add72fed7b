"""Answers one prompt with a trained policy and writes the document.

    python -m llmi_jax.generate --policy=RUN --prompt="Show me a tabby cat." --out=cat.html

RUN is a work folder; its newest checkpoint answers. `--image` may be repeated. The ending of
`--out` decides the form: .html is one self-contained page, .md comes with a folder of pictures.
"""

import asyncio
import pathlib

import jax
from absl import flags
from ml_collections import ConfigDict

from llmi_jax import front, judging, toolbox, wiring
from llmi_jax.core.errors import ConfigError, DataError
from llmi_jax.core.task import ImagePart, ImageRule, Message, Part, Task, TextPart
from llmi_jax.models import decoder
from llmi_jax.report import document
from llmi_jax.rollout.device import Device
from llmi_jax.rollout.rollout import Roller, rollout
from llmi_jax.rollout.timeline import Timeline
from llmi_jax.services import images

POLICY = flags.DEFINE_string('policy', None, 'Work folder of a run.', required=True)
PROMPT = flags.DEFINE_string('prompt', None, 'What to ask.', required=True)
IMAGE = flags.DEFINE_multi_string('image', [], 'A picture that the prompt speaks of; may be repeated.')
OUT = flags.DEFINE_string('out', 'document.html', 'File to write: .html or .md.')
SEED = flags.DEFINE_integer('seed', 0, 'Another seed, another answer.')


def main(_: ConfigDict) -> None:
  """Answers and writes."""
  out = pathlib.Path(OUT.value)
  if out.suffix not in ('.html', '.md'):
    raise ConfigError(f'--out={out} ends in neither .html nor .md; choose one of these endings.')
  path = document.write(out, task := ask(PROMPT.value, IMAGE.value), asyncio.run(answer(task)))
  print(f'Document: {path}')


def ask(prompt: str, paths: list[str]) -> Task:
  """A task that is in no split.

  Raises:
    DataError: a picture cannot be read.
  """
  parts: list[Part] = []
  for path in paths:
    try:
      data = pathlib.Path(path).read_bytes()
    except OSError as error:
      raise DataError(f'--image={path} cannot be read ({error.strerror}); check the path.') from error
    parts.append(ImagePart(images.decode(data)))
  parts.append(TextPart(prompt))
  return Task('asked', (Message('user', tuple(parts)),), prompt, ImageRule('free'), source='asked')


async def answer(task: Task):
  """The policy's answer, its tools run."""
  config, policy = wiring.trained(POLICY.value)
  device = Device()
  try:
    async with toolbox.registry(config.tools, device) as registry:
      # A document is judged only where that calls nobody.
      bench = judging.programs() if config.reward.judges == 'offline' else judging.Bench(())
      dispatcher = toolbox.dispatcher(registry, config.tools)
      roller = Roller(
        device,
        wiring.engine(policy, config, 1, 1),
        wiring.language(policy, registry, config.prompt),
        wiring.scoring(dispatcher, wiring.reward(config.reward), bench, SEED.value),
        SEED.value,
        config.sampler.tokens,
        wiring.sight(policy),
      )
      params = await device.run(jax.jit(decoder.decode_view), policy.model)
      found = await rollout(roller, params, [task], 1, 0, 'serve', Timeline(), origin=POLICY.value)
      return found[0].answer
  finally:
    device.close()


if __name__ == '__main__':
  front.run(main, config_required=False)
