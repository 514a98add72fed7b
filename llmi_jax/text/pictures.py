"""A picture → patches for a vision tower, number for number as transformers' Qwen2-VL image processor.

That processor loads torch where torch is installed, which nothing on the way to training may do; hence this.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from llmi_jax.core.errors import DataError, WeightsError
from llmi_jax.core.image import Image
from llmi_jax.core.prompt import Vision
from llmi_jax.services import images

MAX_RATIO = 200  # of a picture's sides, as the original has it
BICUBIC = 3  # Pillow's number
KINDS = ('Qwen2VLImageProcessor', 'Qwen2VLImageProcessorFast', 'Qwen2VLImageProcessorPil')


@dataclasses.dataclass(frozen=True)
class Processor:
  """How a policy's pictures are scaled and cut; the defaults are the original's.

  Attributes:
    patch: pixels along a patch.
    merge: patches along what becomes one image token.
    frames: how often a still picture's patch is repeated in time.
    min_pixels: smaller pictures are scaled up to it.
    max_pixels: larger pictures are scaled down to it.
    mean: of the channels red, green and blue, as fractions of full light; subtracted.
    std: of the channels; divided by.
    scale: turns a byte into a fraction.
  """

  patch: int = 14
  merge: int = 2
  frames: int = 2
  min_pixels: int = 56 * 56
  max_pixels: int = 28 * 28 * 1280
  mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
  std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
  scale: float = 1 / 255


def load(folder: str | Path, max_pixels: int | None = None) -> Processor:
  """Reads a model folder's `preprocessor_config.json`, or the image part of its `processor_config.json`.

  Args:
    folder: the model's.
    max_pixels: lowers what the file allows.

  Raises:
    WeightsError: the file is missing, broken or another processor's.
  """
  file, fields = _read(Path(folder))
  kind = fields.get('image_processor_type', KINDS[0])
  off = [step for step in ('do_resize', 'do_rescale', 'do_normalize') if not fields.get(step, True)]
  if kind not in KINDS or off or fields.get('resample', BICUBIC) != BICUBIC:
    what = kind if kind not in KINDS else f'{off[0]} = false' if off else 'a resampling that is not bicubic'
    raise WeightsError(
      f'{file} asks for {what}; supported is the picture processor of Qwen2.5-VL as released.'
    )
  size, plain = fields.get('size') or {}, Processor()
  try:
    processor = Processor(
      patch=_positive(fields.get('patch_size', plain.patch)),
      merge=_positive(fields.get('merge_size', plain.merge)),
      frames=_positive(fields.get('temporal_patch_size', plain.frames)),
      min_pixels=_positive(fields.get('min_pixels') or size.get('shortest_edge', plain.min_pixels)),
      max_pixels=_positive(fields.get('max_pixels') or size.get('longest_edge', plain.max_pixels)),
      mean=_channels(fields.get('image_mean', plain.mean)),
      std=_channels(fields.get('image_std', plain.std)),
      scale=float(fields.get('rescale_factor', plain.scale)),
    )
  except (TypeError, ValueError, AttributeError) as error:
    raise WeightsError(f'{file} has a value that cannot be ({error}); restore the file.') from error
  if max_pixels is not None:
    processor = dataclasses.replace(processor, max_pixels=min(max_pixels, processor.max_pixels))
  if processor.min_pixels > processor.max_pixels or min(processor.std) <= 0:
    raise WeightsError(
      f'{file} with at least {processor.min_pixels} and at most {processor.max_pixels} pixels and deviations '
      f'{processor.std} leaves no picture; raise max_pixels or restore the file.'
    )
  return processor


def fitted(width: int, height: int, processor: Processor) -> tuple[int, int]:
  """(width, height) in pixels that a picture is scaled to: whole image tokens, near its own shape, in bounds.

  Raises:
    DataError: one side is more than `MAX_RATIO` times the other.
  """
  if max(width, height) > MAX_RATIO * min(width, height):
    raise DataError(
      f'A picture of {width}×{height} pixels is too narrow: its sides may differ by a factor of {MAX_RATIO}; '
      'crop it.'
    )
  unit = processor.patch * processor.merge
  rounded = [round(side / unit) * unit for side in (width, height)]
  if math.prod(rounded) > processor.max_pixels:
    shrink = math.sqrt(width * height / processor.max_pixels)
    rounded = [max(unit, math.floor(side / shrink / unit) * unit) for side in (width, height)]
  elif math.prod(rounded) < processor.min_pixels:
    stretch = math.sqrt(processor.min_pixels / (width * height))
    rounded = [math.ceil(side * stretch / unit) * unit for side in (width, height)]
  return rounded[0], rounded[1]


def tokens(image: Image, processor: Processor) -> int:
  """How many image tokens stand for a picture.

  Raises:
    DataError: the picture is too narrow.
  """
  width, height = fitted(image.width, image.height, processor)
  return width * height // (processor.patch * processor.merge) ** 2


def cut(image: Image, processor: Processor) -> Vision:
  """Scales a picture and cuts it into patches of [channel, frame, row, column] values.

  Raises:
    DataError: the picture is too narrow.
  """
  width, height = fitted(image.width, image.height, processor)
  pixels = np.asarray(images.to_pil(image).resize((width, height), BICUBIC))
  values = _lights(processor)[pixels, np.arange(3)]
  patch, merge = processor.patch, processor.merge
  rows, columns = height // patch, width // patch
  units = values.reshape(rows // merge, merge, patch, columns // merge, merge, patch, 3)
  ordered = units.transpose(0, 3, 1, 4, 6, 2, 5)[..., None, :, :]
  repeated = np.broadcast_to(ordered, (*ordered.shape[:5], processor.frames, patch, patch))
  patches = repeated.reshape(rows * columns, -1)
  return Vision(image.sha256, patches, (1, rows, columns), rows * columns // merge**2)


def _lights(processor: Processor) -> np.ndarray:
  """[256, 3] float32: what each byte of each channel becomes, rounded where the original rounds."""
  fraction = (np.arange(256, dtype=np.float64) * processor.scale).astype(np.float32)
  mean, std = np.asarray(processor.mean, np.float32), np.asarray(processor.std, np.float32)
  return (fraction[:, None] - mean) / std


def _read(folder: Path) -> tuple[Path, Mapping[str, Any]]:
  file, nested = folder / 'preprocessor_config.json', folder / 'processor_config.json'
  try:
    if file.exists():
      fields = json.loads(file.read_bytes())
    else:
      file, fields = nested, json.loads(nested.read_bytes())['image_processor']
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise WeightsError(
      f'The picture processor in {folder} is missing or broken; restore preprocessor_config.json.'
    ) from error
  if not isinstance(fields, dict):
    raise WeightsError(f'{file} holds no picture processor; restore it from the model.')
  return file, fields


def _positive(value: Any) -> int:
  if isinstance(value, bool) or not isinstance(value, int) or value < 1:
    raise ValueError(f'{value!r} where a positive whole number belongs')
  return value


def _channels(value: Any) -> tuple[float, float, float]:
  red, green, blue = (float(channel) for channel in value)
  return red, green, blue
