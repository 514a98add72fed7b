import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pil

from llmi_jax.core.errors import DataError
from llmi_jax.services import images


def encoded(picture: Pil.Image, format: str = 'PNG', **options) -> bytes:
  buffer = io.BytesIO()
  picture.save(buffer, format, **options)
  return buffer.getvalue()


def gradient(height=24, width=32) -> np.ndarray:
  rows, columns = np.mgrid[0:height, 0:width]
  return np.stack([rows * 9, columns * 7, rows + columns], -1).astype(np.uint8)


@pytest.mark.parametrize('format', ['PNG', 'JPEG', 'WEBP', 'GIF'])
def test_reads_every_promised_format(format):
  image = images.decode(encoded(Pil.fromarray(gradient()), format), source='search:0')
  assert (image.width, image.height, image.source) == (32, 24, 'search:0')
  assert images.to_array(image).shape == (24, 32, 3)


@pytest.mark.parametrize('format', ['BMP', 'TIFF', 'PPM', 'ICO'])
def test_refuses_every_other_format(format):
  with pytest.raises(DataError, match='PNG, JPEG, WebP and GIF'):
    images.decode(encoded(Pil.fromarray(gradient()), format))


def test_pixels_survive_a_round_trip_and_encoding_is_deterministic():
  image = images.from_array(gradient())
  assert np.array_equal(images.to_array(image), gradient())
  assert images.from_pil(images.to_pil(image)) == image
  assert images.decode(image.png) == image


def test_alpha_is_laid_on_white():
  clear = Pil.new('RGBA', (4, 4), (255, 0, 0, 0))
  assert (images.to_array(images.decode(encoded(clear))) == 255).all()
  palette = Pil.new('P', (4, 4), 0)
  palette.putpalette([255, 0, 0] * 256)
  assert (images.to_array(images.decode(encoded(palette, transparency=0))) == 255).all()


def test_orientation_is_applied_and_metadata_dropped():
  exif = Pil.Exif()
  exif[0x0112] = 6  # turned by 90°
  exif[0x010E] = 'a secret place'
  image = images.decode(encoded(Pil.fromarray(gradient()), 'JPEG', exif=exif))
  assert (image.width, image.height) == (24, 32)
  assert b'secret' not in image.png
  with Pil.open(io.BytesIO(image.png)) as reread:
    assert not reread.getexif() and not reread.info


def test_sixteen_bits_become_eight():
  wide = Pil.fromarray(np.full((4, 4), 0x8000, np.uint16))
  assert (images.to_array(images.decode(encoded(wide))) == 0x80).all()


def test_only_the_first_frame_of_an_animation_counts():
  red, blue = Pil.new('RGB', (8, 8), 'red'), Pil.new('RGB', (8, 8), 'blue')
  image = images.decode(encoded(red, 'GIF', save_all=True, append_images=[blue] * 50))
  assert images.to_array(image)[0, 0].tolist() == [255, 0, 0]


def bomb(width: int, height: int) -> bytes:
  """A PNG header that promises many pixels, and no pixels."""

  def chunk(kind, body):
    return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))

  header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
  body = chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b'')
  return b'\x89PNG\r\n\x1a\n' + body


@pytest.mark.parametrize('side', [7_000, 10_000, 60_000])
def test_a_decompression_bomb_is_refused_before_decoding(side):
  with pytest.raises(DataError, match=r'pixels'):
    images.decode(bomb(side, side))


def test_limits_on_bytes_pixels_and_sides():
  data = encoded(Pil.fromarray(gradient()))
  with pytest.raises(DataError, match='at most 10 are read'):
    images.decode(data, max_bytes=10)
  with pytest.raises(DataError, match='32×24 pixels; at most 100'):
    images.decode(data, max_pixels=100)
  assert images.decode(data, max_side=16).width == 16


def test_a_truncated_picture_is_refused():
  with pytest.raises(DataError, match='cannot be decoded'):
    images.decode(encoded(Pil.fromarray(gradient()))[:-40])


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(images.FORMATS), st.data())
def test_broken_bytes_raise_a_data_error_or_nothing(format, data):
  broken = bytearray(encoded(Pil.fromarray(gradient()), format))
  for _ in range(data.draw(st.integers(1, 8))):
    broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
  try:
    images.decode(bytes(broken))
  except DataError as error:
    assert str(error)


def test_a_thumbnail_fits():
  small = images.thumbnail(images.from_array(gradient()), 16)
  with Pil.open(io.BytesIO(small)) as picture:
    assert picture.format == 'WEBP' and max(picture.size) == 16
