"""Local diffusers pipelines behind the diffusion and edit tools, in a child process that can be killed."""

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import signal
import sys
from collections.abc import Mapping
from typing import Any, Literal

import llmi_jax
from llmi_jax.core.errors import ConfigError, DataError
from llmi_jax.core.image import Image
from llmi_jax.core.outcome import Candidate, ToolOutcome
from llmi_jax.core.toolspec import ToolSpec
from llmi_jax.services import images
from llmi_jax.tools import diffusion, edit
from llmi_jax.tools.registry import Context, Params, Tool, ToolFailure, success

_LINE = 1 << 20  # bytes that one line of the worker may have


@dataclasses.dataclass(frozen=True)
class Pipeline:
  """What to load and how to run it.

  Attributes:
    path: folder of a saved diffusers pipeline.
    purpose: `paint` from words; `edit` by an instruction, with a pipeline trained for that; `redraw` with a
      pipeline that only varies a picture towards words, which follows no instruction.
    device: torch's name of it.
    dtype: torch's name of it.
    width: pixels; for edits the most, since the picture's shape is kept.
    height: pixels, likewise.
    steps: of denoising.
    guidance: `guidance_scale`; None leaves the pipeline's own.
    options: further arguments of the pipeline's call.
  """

  path: str
  purpose: Literal['paint', 'edit', 'redraw'] = 'paint'
  device: str = 'cpu'
  dtype: str = 'float32'
  width: int = 512
  height: int = 512
  steps: int = 25
  guidance: float | None = None
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def identity(self) -> str:
    """Name and digest of everything that decides what it paints; weights count by name and size."""
    folder = pathlib.Path(self.path)
    files = sorted((str(p.relative_to(folder)), p.stat().st_size) for p in folder.rglob('*') if p.is_file())
    fields = dataclasses.asdict(self) | {'path': '', 'device': '', 'files': files}
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    return f'{folder.name}@{digest[:16]}'


class DiffusersTool:
  """A pipeline in a child process; one picture at a time.

  A call that is cancelled, by its deadline or with its response, kills the child; the next call loads the
  pipeline again.
  """

  def __init__(self, pipeline: Pipeline, spec: ToolSpec | None = None):
    spec = spec or (diffusion.SPEC if pipeline.purpose == 'paint' else edit.SPEC)
    self._pipeline = pipeline
    self._turn = asyncio.Lock()
    self._worker: asyncio.subprocess.Process | None = None
    self.tool = Tool(spec, self._call, provider='diffusers', model=pipeline.identity, seeded=True)

  @classmethod
  async def open(cls, pipeline: Pipeline, spec: ToolSpec | None = None) -> 'DiffusersTool':
    """Loads the pipeline.

    Raises:
      ConfigError: diffusers is missing, or the folder, device or dtype is wrong.
    """
    if not (pathlib.Path(pipeline.path) / 'model_index.json').is_file():
      raise ConfigError(f'{pipeline.path} is no diffusers pipeline: it has no model_index.json.')
    tool = cls(pipeline, spec)
    try:
      await tool._start()
    except ToolFailure as error:
      raise ConfigError(f'The pipeline {pipeline.path} cannot be used: {error}') from error
    return tool

  async def close(self):
    """Ends the child process."""
    if self._worker is not None:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(self._worker.pid, signal.SIGKILL)
      await self._worker.wait()
      self._worker = None

  async def _call(self, params: Params, context: Context) -> ToolOutcome:
    prompt = str(params['prompt'])
    given = context.images[int(params['img_index'])].png if 'img_index' in params else b''
    async with self._turn:
      painted = [await self._paint(prompt, context.seed + n, given) for n in range(context.candidates)]
    return success(*(Candidate(image) for image in painted))

  async def _paint(self, prompt: str, seed: int, given: bytes) -> Image:
    if self._worker is None or self._worker.returncode is not None:
      await self._start()
    png = await self._ask({'prompt': prompt, 'seed': seed, 'bytes': len(given)}, given)
    try:
      return images.decode(png, source=self.tool.spec.name)
    except DataError as error:
      raise ToolFailure(f'The pipeline made no picture: {error}', 'environment') from error

  async def _start(self):
    package = str(pathlib.Path(llmi_jax.__file__).parents[1])
    path = os.pathsep.join(filter(None, (package, os.environ.get('PYTHONPATH'))))
    self._worker = await asyncio.create_subprocess_exec(
      *(
        sys.executable,
        '-m',
        'llmi_jax.tools.pipeline_worker',
        json.dumps(dataclasses.asdict(self._pipeline)),
      ),
      stdin=asyncio.subprocess.PIPE,
      stdout=asyncio.subprocess.PIPE,
      stderr=asyncio.subprocess.DEVNULL,
      env=os.environ | {'PYTHONPATH': path, 'HF_HUB_OFFLINE': '1'},
      start_new_session=True,
      limit=_LINE,
    )
    try:
      await self._ask(None)
    except ToolFailure:
      await self.close()
      raise

  async def _ask(self, request: dict[str, str | int] | None, given: bytes = b'') -> bytes:
    """Sends a request, or None to hear of the loading; whatever breaks in between ends the child."""
    worker = self._worker
    assert worker is not None and worker.stdin is not None and worker.stdout is not None
    try:
      if request is not None:
        worker.stdin.write(json.dumps(request).encode() + b'\n' + given)
        await worker.stdin.drain()
      reply = json.loads(await worker.stdout.readline())
      png = await worker.stdout.readexactly(reply['bytes'])
    except (OSError, ValueError, asyncio.IncompleteReadError) as error:
      await self.close()
      raise ToolFailure('The process with the pipeline ended; it may lack memory.', 'environment') from error
    except asyncio.CancelledError:
      await self.close()
      raise
    if reply['error']:
      raise ToolFailure(reply['error'], 'environment')
    return png
