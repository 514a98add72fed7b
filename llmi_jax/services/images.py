"""The one place that decodes pictures: bytes from anywhere in, RGB PNG out.

Every picture that enters the system passes `decode`, so the rest of the code may trust `Image.png`: RGB,
eight bits, upright, no metadata, bounded in pixels.
"""

import hashlib
import io
import struct
import threading
import warnings
import zlib

import numpy as np
from PIL import Image as Pil
from PIL import ImageOps

from llmi_jax.core.errors import DataError
from llmi_jax.core.image import Image

FORMATS = ('PNG', 'JPEG', 'WEBP', 'GIF')
MAX_BYTES = 32 << 20
MAX_PIXELS = 40_000_000

# Everything that Pillow's decoders are known to raise on broken or hostile files.
_DECODER_ERRORS = (
  ArithmeticError,
  AttributeError,
  EOFError,
  LookupError,
  MemoryError,
  OSError,
  RuntimeError,
  SyntaxError,
  TypeError,
  ValueError,
  struct.error,
  zlib.error,
  Pil.DecompressionBombError,
  Pil.DecompressionBombWarning,
)
_WARNINGS = threading.Lock()  # `warnings.catch_warnings` swaps a global


def decode(
  data: bytes,
  *,
  source: str = 'input',
  max_pixels: int = MAX_PIXELS,
  max_bytes: int = MAX_BYTES,
  max_side: int | None = None,
) -> Image:
  """Reads an untrusted picture.

  PNG, JPEG, WebP and GIF (first frame). EXIF orientation is applied and dropped with all other metadata,
  alpha is laid on white, sixteen bits become eight.

  Args:
    data: the file's bytes.
    source: what becomes `Image.source`.
    max_pixels: pictures with more pixels are refused before their pixels are decoded.
    max_bytes: files with more bytes are refused.
    max_side: pictures with a longer side are scaled down to it.

  Raises:
    DataError: the bytes are no such picture, broken, or over a limit.
  """
  if len(data) > max_bytes:
    raise DataError(f'The picture has {len(data):,} bytes; at most {max_bytes:,} are read.')
  try:
    with _open(data) as opened:
      if opened.width * opened.height > max_pixels:
        size = f'{opened.width}×{opened.height}'
        raise DataError(f'The picture has {size} pixels; at most {max_pixels:,} are decoded.')
      upright = ImageOps.exif_transpose(opened)
      rgb = _flatten(upright)
  except _DECODER_ERRORS as error:
    kinds = 'PNG, JPEG, WebP and GIF files are read'
    raise DataError(f'The picture cannot be decoded ({_reason(error)}); {kinds}.') from error
  if max_side is not None and max(rgb.size) > max_side:
    rgb.thumbnail((max_side, max_side), Pil.Resampling.LANCZOS)
  return from_pil(rgb, source=source)


def from_pil(picture: Pil.Image, *, source: str = 'input') -> Image:
  """Encodes a Pillow picture of any mode; equal pixels give equal bytes and so an equal `sha256`."""
  buffer = io.BytesIO()
  # A picture rebuilt from its pixels alone carries no metadata into the file.
  rgb = _flatten(picture)
  rgb.info = {}
  rgb.save(buffer, 'PNG', compress_level=1)
  png = buffer.getvalue()
  return Image(hashlib.sha256(png).hexdigest(), png, rgb.width, rgb.height, source)


def from_array(pixels: np.ndarray, *, source: str = 'input') -> Image:
  """Encodes uint8 pixels [H, W, 3]."""
  if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
    raise ValueError(f'Pixels are {pixels.dtype} {pixels.shape}; uint8 [H, W, 3] is expected.')
  return from_pil(Pil.fromarray(np.ascontiguousarray(pixels)), source=source)


def to_pil(image: Image) -> Pil.Image:
  """The picture as a loaded Pillow RGB picture."""
  with Pil.open(io.BytesIO(image.png), formats=('PNG',)) as opened:
    return opened.convert('RGB')


def to_array(image: Image) -> np.ndarray:
  """The picture's pixels, uint8 [H, W, 3]."""
  return np.asarray(to_pil(image))


def thumbnail(image: Image, side: int, format: str = 'WEBP') -> bytes:
  """The picture scaled down to at most `side` pixels a side, encoded as `WEBP`, `JPEG` or `PNG`."""
  picture = to_pil(image)
  picture.thumbnail((side, side), Pil.Resampling.LANCZOS)
  buffer = io.BytesIO()
  picture.save(buffer, format)
  return buffer.getvalue()


def _open(data: bytes) -> Pil.Image:
  """Reads a header; what Pillow only warns of is an error here."""
  with _WARNINGS, warnings.catch_warnings():
    warnings.simplefilter('error', Pil.DecompressionBombWarning)
    return Pil.open(io.BytesIO(data), formats=FORMATS)


def _flatten(picture: Pil.Image) -> Pil.Image:
  """RGB with eight bits, alpha on white."""
  if picture.mode.startswith('I'):
    wide = np.asarray(picture).astype(np.int64)
    return Pil.fromarray(np.clip(wide >> 8, 0, 255).astype(np.uint8)).convert('RGB')
  if picture.has_transparency_data:
    layer = picture.convert('RGBA')
    white = Pil.new('RGBA', layer.size, 'white')
    return Pil.alpha_composite(white, layer).convert('RGB')
  return picture.convert('RGB')


def _reason(error: BaseException) -> str:
  return str(error).splitlines()[0].rstrip('.') if str(error) else type(error).__name__
