import asyncio
import dataclasses
import zlib

import numpy as np
import pytest

from llmi_jax.core.answer import Answer
from llmi_jax.core.outcome import Candidate
from llmi_jax.core.toolspec import Parameter, ToolSpec
from llmi_jax.data import photographs
from llmi_jax.judges.offline import OfflineText, OfflineVisual
from llmi_jax.services import images
from llmi_jax.text.grammar import parse
from llmi_jax.tools.answer import compose
from llmi_jax.tools.dispatch import Dispatcher
from llmi_jax.tools.edit import edit_tool
from llmi_jax.tools.registry import Registry, Tool, success
from llmi_jax.tools.search import search_tool
from llmi_jax.tools.session import SessionKey

CODE = ToolSpec('code', 'Draws.', (Parameter('code', 'string', 'Python'),))
DIFFUSION = ToolSpec('diffusion', 'Paints.', (Parameter('prompt', 'string', 'What to paint.'),))


async def noise(params, context):
  """Stands for a plot or a painting: judges read what was executed, so nothing needs to run."""
  pixels = np.random.default_rng(zlib.crc32(str(params).encode())).integers(
    0, 256, (90, 120, 3), dtype=np.uint8
  )
  return success(Candidate(images.from_array(pixels)))


@pytest.fixture(scope='session')
def answered():
  """Carries a written response through grammar and tools; (task, response) → answer with verdicts."""
  drawn = [Tool(spec, noise, cached=False) for spec in (CODE, DIFFUSION)]
  registry = Registry([search_tool(photographs.load()), *drawn, edit_tool()])
  dispatcher = Dispatcher(registry)
  judges = (OfflineText(), OfflineVisual())

  async def carry(task, response):
    document = parse(response, registry.specs, len(task.input_images))
    session = dispatcher.open(task, SessionKey(0, 0, task.id, 0))
    for segment in document.segments:
      session.submit(segment)
    answer = Answer(task.id, compose(document, await session.finish()), document)
    verdicts = [await judge.judge(task, answer) for judge in judges]
    return dataclasses.replace(answer, verdicts=tuple(verdicts))

  return lambda task, response: asyncio.run(carry(task, response))
