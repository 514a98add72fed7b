"""A real diffusers pipeline with random weights, made here, served by the tool."""

import asyncio
import json
import os
import time

import numpy as np
import psutil
import pytest

from llmi_jax.core.errors import ConfigError
from llmi_jax.services import images
from llmi_jax.tools.pipeline import DiffusersTool, Pipeline
from llmi_jax.tools.registry import Context, ToolFailure


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """A text-to-image pipeline, and one trained to edit, of under 1 MB each, of the same random parts."""
  os.environ['HF_HUB_OFFLINE'] = '1'
  torch = pytest.importorskip('torch')
  pytest.importorskip('diffusers')
  from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
  )
  from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel, T5Tokenizer

  torch.manual_seed(0)
  clip = CLIPTextConfig(
    hidden_size=32,
    intermediate_size=64,
    num_attention_heads=4,
    num_hidden_layers=2,
    projection_dim=32,
    vocab_size=514,
    bos_token_id=512,
    eos_token_id=513,
  )
  characters = [(chr(c), -3.0) for c in range(33, 127)] + [('▁', -2.0)]
  t5 = T5Config(
    vocab_size=128, d_model=32, d_ff=64, d_kv=8, num_layers=2, num_heads=4, feed_forward_proj='gated-gelu'
  )
  transformer = FluxTransformer2DModel(
    patch_size=1,
    in_channels=16,
    num_layers=1,
    num_single_layers=1,
    attention_head_dim=16,
    num_attention_heads=2,
    joint_attention_dim=32,
    pooled_projection_dim=32,
    axes_dims_rope=(4, 4, 8),
  )
  autoencoder = AutoencoderKL(
    block_out_channels=(16, 16),
    down_block_types=('DownEncoderBlock2D',) * 2,
    up_block_types=('UpDecoderBlock2D',) * 2,
    layers_per_block=1,
    latent_channels=4,
    norm_num_groups=4,
    use_quant_conv=False,
    use_post_quant_conv=False,
    shift_factor=0.06,
    scaling_factor=1.5,
  )
  parts = dict(
    scheduler=FlowMatchEulerDiscreteScheduler(),
    vae=autoencoder,
    text_encoder=CLIPTextModel(clip),
    tokenizer=_clip_tokenizer(tmp_path_factory.mktemp('tokenizer')),
    text_encoder_2=T5EncoderModel(t5),
    tokenizer_2=T5Tokenizer(vocab=[('<pad>', 0.0), ('</s>', 0.0), ('<unk>', -2.0), *characters], extra_ids=0),
    transformer=transformer,
  )
  made = {}
  for purpose, kind in (('paint', FluxPipeline), ('edit', FluxKontextPipeline)):
    made[purpose] = tmp_path_factory.mktemp(purpose)
    kind(**parts).save_pretrained(made[purpose])
  return made


@pytest.fixture
def folder(folders):
  return folders['paint']


def _clip_tokenizer(folder):
  """Bytes and bytes that end a word; no merges."""
  from tokenizers import pre_tokenizers
  from transformers import CLIPTokenizer

  letters = sorted(pre_tokenizers.ByteLevel.alphabet())
  words = [*letters, *(letter + '</w>' for letter in letters), '<|startoftext|>', '<|endoftext|>']
  (folder / 'vocab.json').write_text(json.dumps({word: index for index, word in enumerate(words)}))
  (folder / 'merges.txt').write_text('#version: 0.2\n')
  end = '<|endoftext|>'
  files = {'vocab': str(folder / 'vocab.json'), 'merges': str(folder / 'merges.txt')}
  return CLIPTokenizer(**files, unk_token=end, pad_token=end, model_max_length=77)


def settings(folder, **changes) -> Pipeline:
  fields = {'width': 64, 'height': 64, 'steps': 2, 'options': {'max_sequence_length': 48}}
  return Pipeline(str(folder), **fields | changes)


async def paint(opened, prompt='a red cat', **context):
  return await opened.tool.call({'prompt': prompt}, Context(**context))


@pytest.mark.slow
def test_a_local_pipeline_paints_by_seed(folder):
  async def main():
    opened = await DiffusersTool.open(settings(folder))
    worker = psutil.Process(opened._worker.pid)
    first = await paint(opened, seed=1)
    same = await paint(opened, seed=1, candidates=2)
    other = await paint(opened, seed=9)
    with pytest.raises(ToolFailure) as raised:
      await paint(opened, seed=2**80)
    again = await paint(opened, seed=1)
    await opened.close()
    return first, same, other, raised.value, again, worker

  first, same, other, failure, again, worker = asyncio.run(main())
  assert (first.image.width, first.image.height) == (64, 64)
  assert same.image.sha256 == first.image.sha256 == again.image.sha256
  assert len({c.image.sha256 for c in (*same.candidates, *other.candidates)}) == 3
  assert failure.fault == 'environment' and not worker.is_running()


async def change(opened, image, **context):
  return await opened.tool.call(
    {'img_index': 2, 'prompt': 'make it blue'}, Context(images={2: image}, **context)
  )


@pytest.mark.slow
def test_a_local_pipeline_edits_the_picture_it_is_given(folders):
  given = [images.from_array(np.full((48, 96, 3), shade, np.uint8)) for shade in (40, 200)]
  options = {'max_sequence_length': 48, 'max_area': 64 * 64, '_auto_resize': False}

  async def main():
    opened = await DiffusersTool.open(settings(folders['edit'], purpose='edit', options=options))
    try:
      return opened, [await change(opened, image, seed=1) for image in (given[0], given[0], given[1])]
    finally:
      await opened.close()

  opened, (first, again, other) = asyncio.run(main())
  assert opened.tool.spec.name == 'edit' and first.image.source == 'edit'
  assert first.image.width == 2 * first.image.height  # the picture's shape
  assert first.image.sha256 == again.image.sha256 != other.image.sha256


@pytest.mark.slow
def test_a_pipeline_that_follows_no_instruction_edits_only_where_that_is_chosen(folders):
  given = images.from_array(np.full((64, 64, 3), 90, np.uint8))
  with pytest.raises(ConfigError, match=r'follows no instruction.*redraw'):
    asyncio.run(DiffusersTool.open(settings(folders['paint'], purpose='edit')))

  async def main():
    opened = await DiffusersTool.open(settings(folders['paint'], purpose='redraw', steps=3))
    try:
      return await change(opened, given, seed=1, candidates=2)
    finally:
      await opened.close()

  outcome = asyncio.run(main())
  assert len({candidate.image.sha256 for candidate in outcome.candidates}) == 2


@pytest.mark.slow
def test_cancelling_kills_the_child_and_the_next_call_starts_another(folder):
  async def main():
    opened = await DiffusersTool.open(settings(folder, steps=100_000))
    worker = psutil.Process(opened._worker.pid)
    start = time.monotonic()
    with pytest.raises(TimeoutError):
      async with asyncio.timeout(0.5):
        await paint(opened)
    assert time.monotonic() - start < 20 and not worker.is_running()
    job = asyncio.ensure_future(paint(opened))
    while opened._worker is None:
      await asyncio.sleep(0.05)
    assert opened._worker.pid != worker.pid
    job.cancel()
    await asyncio.wait([job])

  asyncio.run(main())


@pytest.mark.slow
def test_a_pipeline_that_cannot_be_used_is_a_config_error(folder):
  for changes in ({'device': 'abacus'}, {'dtype': 'float3'}):
    with pytest.raises(ConfigError, match='cannot be used'):
      asyncio.run(DiffusersTool.open(settings(folder, **changes)))


def test_a_folder_that_is_no_pipeline_is_a_config_error(tmp_path):
  with pytest.raises(ConfigError, match='no diffusers pipeline'):
    asyncio.run(DiffusersTool.open(Pipeline(str(tmp_path))))


def test_identity_depends_on_what_decides_the_picture_and_not_on_the_place(tmp_path):
  for name in ('a', 'b'):
    (tmp_path / name / 'model').mkdir(parents=True)
    (tmp_path / name / 'model' / 'weights').write_bytes(b'123')
  first, second = (Pipeline(str(tmp_path / name / 'model')) for name in 'ab')
  assert first.identity == second.identity
  assert first.identity != Pipeline(first.path, steps=3).identity
  (tmp_path / 'b' / 'model' / 'weights').write_bytes(b'1234')
  assert first.identity != second.identity
