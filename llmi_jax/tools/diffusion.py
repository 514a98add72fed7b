"""The diffusion tool on the built-in painter, and what prompts say of diffusion whoever serves it."""

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np

from llmi_jax.core.outcome import Candidate, ToolOutcome
from llmi_jax.core.toolspec import Parameter, ToolSpec
from llmi_jax.services import images
from llmi_jax.tools.registry import Context, Params, Tool, ToolFailure, success

SPEC = ToolSpec(
  'diffusion',
  'Paints a picture that no camera took. Use it for imagined scenes, styles, characters and moods, where no '
  'real photograph exists and nothing has to be exact. Describe subject, setting, style and light.',
  (Parameter('prompt', 'string', 'the picture in words'),),
  (('prompt', 'a watercolour of a lighthouse on a cliff at dawn, soft light'),),
)


def painter_tool(
  paint: Callable[[str, int], Awaitable[np.ndarray]],
  knows: Callable[[str], bool],
  model: str,
  spec: ToolSpec = SPEC,
) -> Tool:
  """The diffusion tool on a model in this process.

  Args:
    paint: caption and seed → uint8 [H, W, 3].
    knows: whether a caption has a word that the model was trained on.
    model: its identity.
    spec: what prompts say of it.
  """

  async def call(params: Params, context: Context) -> ToolOutcome:
    prompt = str(params['prompt'])
    if not knows(prompt):
      raise ToolFailure(f'The built-in painter knows no word of {prompt[:100]!r}.', 'policy')
    seeds = range(context.seed, context.seed + context.candidates)
    painted = await asyncio.gather(*(paint(prompt, seed) for seed in seeds))
    return success(*(Candidate(images.from_array(pixels, source='diffusion')) for pixels in painted))

  return Tool(spec, call, provider='painter', model=model, seeded=True, cached=False)
