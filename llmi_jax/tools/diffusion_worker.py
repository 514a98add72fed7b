"""The child process of the diffusion tool: loads a pipeline, then answers one JSON line with one PNG.

{"prompt": "a red cat", "seed": 7}  →  {"error": "", "bytes": 1234} and 1,234 bytes
"""

import io
import json
import os
import queue
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
    requests.put(json.loads(line))
  os._exit(0)  # the parent is gone


def _load(settings: dict[str, Any]):
  import torch
  from diffusers.pipelines.pipeline_utils import DiffusionPipeline

  dtype = getattr(torch, settings['dtype'])
  path = settings['path']
  pipeline = DiffusionPipeline.from_pretrained(
    path, torch_dtype=dtype, local_files_only=True, use_safetensors=True
  )
  pipeline.set_progress_bar_config(disable=True)
  return pipeline.to(settings['device'])


def _paint(pipeline, settings: dict[str, Any], request: dict[str, Any]) -> bytes:
  import torch

  options = dict(settings['options'])
  if settings['guidance'] is not None:
    options['guidance_scale'] = settings['guidance']
  painted = pipeline(
    prompt=request['prompt'],
    width=settings['width'],
    height=settings['height'],
    num_inference_steps=settings['steps'],
    # On the CPU, so that a seed means the same noise on every device.
    generator=torch.Generator('cpu').manual_seed(request['seed']),
    output_type='pil',
    **options,
  )
  buffer = io.BytesIO()
  painted.images[0].save(buffer, 'PNG', compress_level=1)
  return buffer.getvalue()


def _reply(replies: BinaryIO, error: str = '', png: bytes = b''):
  replies.write(json.dumps({'error': error, 'bytes': len(png)}).encode() + b'\n' + png)
  replies.flush()


def _words(error: Exception) -> str:
  text = ' '.join(str(error).split())[:500]
  return f'{type(error).__name__}: {text}' if text else type(error).__name__


if __name__ == '__main__':
  main()
