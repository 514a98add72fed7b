"""Answers one prompt with a trained policy and writes the document.

    python -m llmi_jax.generate --policy=RUN --prompt="Show me a tabby cat." --out=cat.html

RUN is a work folder; its newest checkpoint answers. `--image` may be repeated. The ending of
`--out` decides the form: .html is one self-contained page, .md comes with a folder of pictures.

`--tts=configs/tts_small.py` spends more at answer time: several samples, of which the best is bettered.
What became of all of them is told in a folder beside the document, `cat_tts/scaling.html`. Ctrl-C ends
with the best so far; after a kill the same command goes on and asks nobody twice.
"""

import asyncio
import json
import pathlib

import jax
from absl import flags
from ml_collections import ConfigDict

from llmi_jax import compilation, front, judging, rewarding, scaling, toolbox, wiring
from llmi_jax.checkpoint.digest import digest
from llmi_jax.core.answer import Answer
from llmi_jax.core.errors import ConfigError, DataError
from llmi_jax.core.task import ImagePart, ImageRule, Message, Part, Task, TextPart
from llmi_jax.models import decoder
from llmi_jax.report import document
from llmi_jax.rollout.device import Device
from llmi_jax.rollout.rollout import Roller, rollout
from llmi_jax.rollout.timeline import Timeline
from llmi_jax.services import home, images
from llmi_jax.services.faults import ServiceFault
from llmi_jax.services.journal import Journal
from llmi_jax.tts import page as tts_page
from llmi_jax.tts import record
from llmi_jax.tts.pipeline import Result

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
  compilation.keep(home.cache('xla'))
  task, chosen = ask(PROMPT.value, IMAGE.value), scaling.read()
  if chosen is None:
    found = asyncio.run(answer(task))
  else:
    found = asyncio.run(scaled(task, chosen, folder := out.with_name(f'{out.stem}_tts')))
    print(f'Scaling: {folder / tts_page.NAME}')
  print(f'Document: {document.write(out, task, found)}')


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


async def answer(task: Task) -> Answer:
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
        rewarding.scoring(dispatcher, rewarding.reward(config.reward), bench, SEED.value),
        SEED.value,
        config.sampler.tokens,
        wiring.sight(policy),
      )
      params = await device.run(jax.jit(decoder.decode_view), policy.model)
      found = await rollout(roller, params, [task], 1, 0, 'serve', Timeline(), origin=POLICY.value)
      return found[0].answer
  finally:
    device.close()


async def scaled(task: Task, chosen: wiring.Config, folder: pathlib.Path) -> Answer:
  """The best answer that test-time scaling finds; everything else goes to `folder`.

  Raises:
    ConfigError: the folder is another scaling's.
    Interrupted: stopped before there was one.
    DataError: no answer could be written.
  """
  config, policy = wiring.trained(POLICY.value)
  settings = {'policy': digest(policy.model), 'seed': SEED.value, 'prompt': task.question}
  settings |= {'pictures': [image.sha256 for image in task.input_images], 'tts': json.loads(chosen.to_json())}
  scaling.claim(folder, settings)
  device, journal = Device(), Journal(folder)

  def told(task: Task, number: int, result: Result) -> None:
    record.write(folder, [(task, number, result)])
    tts_page.write(folder, task, result)

  try:
    with scaling.stopping() as stop:
      parts = scaling.policy(
        chosen,
        config,
        policy,
        device,
        seed=SEED.value,
        journal=journal,
        origin=POLICY.value,
        told=told,
        stop=stop,
      )
      async with parts as generate:
        return (await generate(task, 1, SEED.value))[0]
  except ServiceFault as fault:
    raise DataError(
      f'No answer could be written ({fault.cause}: {fault}); try again, or allow more.'
    ) from fault
  finally:
    device.close()
    journal.close()


if __name__ == '__main__':
  front.run(main, config_required=False)
