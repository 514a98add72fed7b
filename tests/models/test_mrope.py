"""Positions equal transformers' get_rope_index, exactly."""

import numpy as np
import pytest

from llmi_jax.core.errors import DataError
from llmi_jax.models.mrope import positions

PAD, START, END = 90, 91, 92
SQUARE, WIDE, TALL, SMALL = (1, 8, 8), (1, 4, 18), (1, 20, 6), (1, 2, 2)

# A prompt is a list of text lengths and pictures.
PROMPTS = {
  'no picture': [7],
  'first': [WIDE, 5],
  'middle': [3, SQUARE, 4],
  'last': [6, TALL],
  'alone': [SMALL],
  'several sizes': [2, SQUARE, 3, TALL, 1, WIDE, 6],
  'four in a row': [1, SMALL, SQUARE, WIDE, TALL, 2],
  'the same twice': [WIDE, 2, WIDE, 9],
}


def build(parts):
  ids, grids = [], []
  for part in parts:
    if isinstance(part, int):
      ids += list(range(1, part + 1))
    else:
      ids += [START, *[PAD] * (part[1] * part[2] // 4), END]
      grids.append(part)
  return np.array(ids, np.int32), grids


@pytest.fixture(scope='module')
def model():
  torch = pytest.importorskip('torch')
  from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel

  text = dict(
    vocab_size=96,
    hidden_size=16,
    intermediate_size=16,
    num_hidden_layers=1,
    num_attention_heads=1,
    num_key_value_heads=1,
    rope_parameters={'rope_type': 'default', 'rope_theta': 1e6, 'mrope_section': [2, 3, 3]},
  )
  vision = dict(depth=1, hidden_size=16, intermediate_size=16, num_heads=1, out_hidden_size=16)
  ids = dict(image_token_id=PAD, video_token_id=93, vision_start_token_id=START, vision_end_token_id=END)
  with torch.device('meta'):
    return Qwen2_5_VLModel(Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids))


@pytest.mark.parametrize('parts', PROMPTS.values(), ids=PROMPTS.keys())
def test_positions_and_delta_equal_transformers(model, parts):
  import torch

  ids, grids = build(parts)
  wanted, delta = model.get_rope_index(
    torch.tensor(ids[None]).long(),
    torch.tensor(ids[None] == PAD).int(),
    image_grid_thw=torch.tensor(grids) if grids else None,
  )
  found, own_delta = positions(ids, grids, image_pad=PAD, merge=2)
  assert found.dtype == np.int32
  np.testing.assert_array_equal(found, wanted[:, 0].numpy())
  assert own_delta == int(delta)


def test_a_vocabulary_without_pictures_counts_up():
  found, delta = positions(np.arange(5), [], image_pad=None, merge=2)
  np.testing.assert_array_equal(found, np.tile(np.arange(5), (3, 1)))
  assert delta == 0


@pytest.mark.parametrize('grids', [[], [SMALL], [SQUARE, SMALL]])
def test_image_tokens_that_do_not_match_the_pictures_name_both_numbers(grids):
  ids, _ = build([2, SQUARE, 2])
  with pytest.raises(DataError, match=rf'16 image tokens.*{sum(h * w // 4 for _, h, w in grids)} features'):
    positions(ids, grids, image_pad=PAD, merge=2)


def test_a_torn_run_is_named():
  ids, grids = build([2, SQUARE, 2])
  ids[8], ids[1] = 5, PAD
  with pytest.raises(DataError, match=r'16 image tokens.*from token 1'):
    positions(ids, grids, image_pad=PAD, merge=2)
