"""The child process of a pipeline: loads it, then answers one JSON line, and one PNG for edits, with one PNG.

{"prompt": "a red cat", "seed": 7, "bytes": 0}  →  {"error": "", "bytes": 1234} and 1,234 bytes
"""

import inspect
import io
import json
import os
import queue
import re
import sys
import threading
from typing import Any, BinaryIO


def main():
  """Serves standard input until it ends, at once even in the middle of a picture."""
  replies = os.fdopen(os.dup(1), 'wb')
  os.dup2(2, 1)  # libraries may print
  settings = json.loads(sys.argv[1])
  requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
  threading.Thread(target=_listen, args=(requests,), daemon=True).start()
  try:
    pipeline = _load(settings)
  except ImportError as error:
    _reply(replies, f'{error}; pip install "llmi_jax[diffusion]".')
    return
  # Whatever a pipeline raises while loading is told to the person who configured it.
  except Exception as error:  # noqa: BLE001
    _reply(replies, _words(error))
    return
  _reply(replies)
  while True:
    request = requests.get()
    try:
      png = _paint(pipeline, settings, request)
    # A pipeline that fails on one prompt goes on to serve the next.
    except Exception as error:  # noqa: BLE001
      _reply(replies, _words(error))
    else:
      _reply(replies, png=png)


def _listen(requests: queue.SimpleQueue[dict[str, Any]]):
  for line in sys.stdin.buffer:
    request = json.loads(line)
    requests.put(request | {'image': sys.stdin.buffer.read(request['bytes'])})
  os._exit(0)  # the parent is gone


# Pipelines whose words are an instruction; the words of all others describe the whole new picture.
_INSTRUCTED = re.compile(r'Edit|Kontext|Pix2Pix|Flux2')


class WrongPipeline(Exception):
  """The pipeline is not for what it is to do."""


def _load(settings: dict[str, Any]):
  import torch
  from diffusers.pipelines.auto_pipeline import AutoPipelineForImage2Image
  from diffusers.pipelines.pipeline_utils import DiffusionPipeline

  kind: Any = AutoPipelineForImage2Image if settings['purpose'] == 'redraw' else DiffusionPipeline
  pipeline = kind.from_pretrained(
    settings['path'],
    torch_dtype=getattr(torch, settings['dtype']),
    local_files_only=True,
    use_safetensors=True,
  )
  name = type(pipeline).__name__
  if settings['purpose'] == 'edit' and not _INSTRUCTED.search(name):
    raise WrongPipeline(f'{name} follows no instruction; set purpose to redraw to let it vary pictures')
  pipeline.set_progress_bar_config(disable=True)
  return pipeline.to(settings['device'])


def _paint(pipeline, settings: dict[str, Any], request: dict[str, Any]) -> bytes:
  import torch

  options = dict(settings['options'])
  if settings['guidance'] is not None:
    options['guidance_scale'] = settings['guidance']
  width, height = settings['width'], settings['height']
  if request['image']:
    options['image'] = picture = _given(request['image'], width, height)
    width, height = picture.size
  if 'width' in inspect.signature(pipeline.__call__).parameters:
    options |= {'width': width, 'height': height}
  painted = pipeline(
    prompt=request['prompt'],
    num_inference_steps=settings['steps'],
    # On the CPU, so that a seed means the same noise on every device.
    generator=torch.Generator('cpu').manual_seed(request['seed']),
    output_type='pil',
    **options,
  )
  buffer = io.BytesIO()
  painted.images[0].save(buffer, 'PNG', compress_level=1)
  return buffer.getvalue()


def _given(png: bytes, width: int, height: int):
  """The picture to change, scaled to fit, in the multiples of 16 that pipelines want."""
  from PIL import Image

  with Image.open(io.BytesIO(png), formats=('PNG',)) as opened:
    share = min(width / opened.width, height / opened.height)
    sides = (max(16, int(side * share) // 16 * 16) for side in (opened.width, opened.height))
    return opened.convert('RGB').resize((next(sides), next(sides)))


def _reply(replies: BinaryIO, error: str = '', png: bytes = b''):
  replies.write(json.dumps({'error': error, 'bytes': len(png)}).encode() + b'\n' + png)
  replies.flush()


def _words(error: Exception) -> str:
  text = ' '.join(str(error).split())[:500]
  return f'{type(error).__name__}: {text}' if text else type(error).__name__


if __name__ == '__main__':
  main()
