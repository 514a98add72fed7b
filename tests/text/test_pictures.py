"""Patches equal transformers' image processor; prompts with pictures equal transformers' own."""

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from llmi_jax.core.errors import DataError, WeightsError
from llmi_jax.core.task import ImagePart, ImageRule, Message, Task, TextPart
from llmi_jax.services import images
from llmi_jax.text import pictures, tokens
from llmi_jax.text.chat import encode_chat
from llmi_jax.text.pictures import Processor, cut, fitted
from llmi_jax.text.prompts import load_template, render

SIZES = [(120, 90), (28, 28), (200, 9), (11, 400), (57, 41), (640, 333), (1, 1), (42, 70)]
SMALL = Processor(max_pixels=28 * 28 * 40)

# The form of the released vision-language models.
TEMPLATE = """\
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""


def noise(width, height, seed=0):
  pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
  return images.from_array(pixels)


def theirs(image, processor):
  pytest.importorskip('torch')  # what transformers' processor is built upon, when it is there
  from transformers import Qwen2VLImageProcessorPil

  hf = Qwen2VLImageProcessorPil(
    patch_size=processor.patch,
    merge_size=processor.merge,
    temporal_patch_size=processor.frames,
    min_pixels=processor.min_pixels,
    max_pixels=processor.max_pixels,
  )
  return hf(images=[images.to_pil(image)], return_tensors='np')


@pytest.mark.parametrize(('width', 'height'), SIZES)
@pytest.mark.parametrize('processor', [SMALL, Processor(patch=4, merge=3, frames=1, min_pixels=900)])
def test_patches_equal_transformers(width, height, processor):
  image = noise(width, height)
  wanted = theirs(image, processor)
  found = cut(image, processor)
  assert found.patches.dtype == np.float32
  np.testing.assert_array_equal(found.patches, wanted['pixel_values'])
  assert list(found.grid) == wanted['image_grid_thw'][0].tolist()
  assert found.tokens == len(found.patches) // processor.merge**2
  assert found.sha256 == image.sha256


def test_sizes_equal_transformers_over_many():
  pytest.importorskip('torch')
  from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

  rng = np.random.default_rng(3)
  processor = Processor(max_pixels=200_000)
  for width, height in np.exp(rng.uniform(1, 7, (400, 2))).astype(int).tolist():
    if max(width, height) <= 200 * min(width, height):
      wanted = smart_resize(height, width, 28, processor.min_pixels, processor.max_pixels)
      assert fitted(width, height, processor) == wanted[::-1]


def test_a_picture_too_narrow_is_named():
  with pytest.raises(DataError, match=r'402×2 pixels.*200'):
    fitted(402, 2, SMALL)
  assert fitted(400, 2, SMALL)


def test_cutting_imports_no_torch():
  script = """
import sys
import numpy as np
from llmi_jax.services import images
from llmi_jax.text import pictures
pictures.cut(images.from_array(np.zeros((40, 60, 3), np.uint8)), pictures.Processor())
print(sorted({'torch', 'torchvision', 'jax', 'transformers'} & set(sys.modules)))
"""
  done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == '[]'


RELEASED = {
  'min_pixels': 3136,
  'max_pixels': 12845056,
  'patch_size': 14,
  'temporal_patch_size': 2,
  'merge_size': 2,
  'image_mean': [0.48145466, 0.4578275, 0.40821073],
  'image_std': [0.26862954, 0.26130258, 0.27577711],
  'image_processor_type': 'Qwen2VLImageProcessor',
  'processor_class': 'Qwen2_5_VLProcessor',
}


def written(folder, fields, name='preprocessor_config.json'):
  (folder / name).write_text(json.dumps(fields))
  return folder


def test_the_released_file_is_read(tmp_path):
  assert pictures.load(written(tmp_path, RELEASED)) == Processor(max_pixels=12_845_056)
  assert pictures.load(tmp_path, max_pixels=10_000).max_pixels == 10_000
  assert pictures.load(tmp_path, max_pixels=99_000_000).max_pixels == 12_845_056


def test_what_transformers_saves_is_read(tmp_path):
  pytest.importorskip('torch')
  from transformers import Qwen2VLImageProcessorPil

  Qwen2VLImageProcessorPil(min_pixels=784, max_pixels=7840, patch_size=7).save_pretrained(tmp_path)
  wanted = Processor(patch=7, min_pixels=784, max_pixels=7840)
  assert pictures.load(tmp_path) == wanted
  fields = json.loads((tmp_path / 'preprocessor_config.json').read_text())
  (tmp_path / 'preprocessor_config.json').unlink()
  assert pictures.load(written(tmp_path, {'image_processor': fields}, 'processor_config.json')) == wanted


@pytest.mark.parametrize(
  ('change', 'culprit'),
  [
    ({'image_processor_type': 'CLIPImageProcessor'}, 'CLIPImageProcessor'),
    ({'do_resize': False}, 'do_resize'),
    ({'resample': 2}, 'bicubic'),
    ({'patch_size': 0}, '0 where'),
    ({'merge_size': '2'}, "'2' where"),
    ({'image_mean': [0.5]}, 'value that cannot be'),
    ({'image_std': [1, 0, 1]}, 'leaves no picture'),
    ({'min_pixels': 20_000_000}, '20000000 and at most 12845056'),
    ({'size': 5}, 'value that cannot be'),
  ],
)
def test_a_file_that_cannot_work_gives_one_sentence(tmp_path, change, culprit):
  fields = RELEASED | change
  if 'size' in change:
    del fields['min_pixels'], fields['max_pixels']
  with pytest.raises(WeightsError, match=culprit):
    pictures.load(written(tmp_path, fields))


def test_a_missing_or_broken_file_gives_one_sentence(tmp_path):
  with pytest.raises(WeightsError, match=r'restore preprocessor_config\.json'):
    pictures.load(tmp_path)
  (tmp_path / 'preprocessor_config.json').write_text('{')
  with pytest.raises(WeightsError, match='missing or broken'):
    pictures.load(tmp_path)
  with pytest.raises(WeightsError, match='holds no picture processor'):
    pictures.load(written(tmp_path, [1]))


@pytest.fixture(scope='module')
def seeing(folder, tmp_path_factory):
  copy = tmp_path_factory.mktemp('seeing') / 'policy'
  shutil.copytree(folder, copy)
  (copy / 'chat_template.jinja').write_text(TEMPLATE)
  return tokens.load(copy)


def task(*parts):
  content = tuple(ImagePart(part) if not isinstance(part, str) else TextPart(part) for part in parts)
  return Task('sight-1', (Message('user', content),), 'q', ImageRule('free'))


def test_chats_with_pictures_are_encoded_as_transformers_encodes_them(seeing):
  from transformers import AutoTokenizer

  ours, text = encode_chat(
    seeing, [('system', 'Be brief.'), ('user', [3, 'What is  this\n', 5, '']), ('user', 'Hm?')]
  )
  image = {'type': 'image'}
  texts = [{'type': 'text', 'text': text} for text in ('What is  this\n', '')]
  talk = [
    {'role': 'system', 'content': 'Be brief.'},
    {'role': 'user', 'content': [image, texts[0], image, texts[1]]},
    {'role': 'user', 'content': 'Hm?'},
  ]
  hf = AutoTokenizer.from_pretrained(seeing.path, local_files_only=True)
  plain = hf.apply_chat_template(talk, add_generation_prompt=True, return_dict=False)
  runs = iter([3, 5])
  wanted = [i for token in plain for i in [token] * (next(runs) if token == seeing.image_pad_id else 1)]
  assert ours.tolist() == wanted
  assert text.count('<|image_pad|>') == 2


def test_a_task_with_pictures_becomes_a_prompt_with_vision(seeing, specs):
  large, small = noise(90, 60), noise(30, 40, seed=1)
  request = task('This ', large, ' or ', small, ' or ', large, '?')
  options = dict(limit=10_000, processor=SMALL)
  prompt = render(request, seeing, specs, load_template('compact'), **options)
  assert [vision.sha256 for vision in prompt.vision] == [large.sha256, small.sha256]
  assert prompt.images == (0, 1, 0)
  runs = [prompt.vision[i].tokens for i in prompt.images]
  pads = prompt.tokens == seeing.image_pad_id
  edges = np.flatnonzero(np.diff(np.concatenate([[0], pads.astype(int), [0]])))
  assert np.diff(edges)[::2].tolist() == runs
  assert 'This [picture 0]<|vision_start|><|image_pad|><|vision_end|> or [picture 1]' in prompt.text


def test_a_policy_that_only_reads_is_given_marks_alone(tokenizer, specs):
  prompt = render(task('See ', noise(30, 30)), tokenizer, specs, load_template('compact'), limit=10_000)
  assert 'See [picture 0]<|im_end|>' in prompt.text
  assert (prompt.vision, prompt.images) == ((), ())
  assert tokenizer.image_pad_id not in prompt.tokens


def test_a_task_without_pictures_is_the_same_for_both(seeing, tokenizer, specs):
  template = load_template('compact')
  seen = render(task('Hello.'), seeing, specs, template, limit=10_000, processor=SMALL)
  read = render(task('Hello.'), tokenizer, specs, template, limit=10_000)
  np.testing.assert_array_equal(seen.tokens, read.tokens)
  assert seen.vision == ()


def test_text_that_looks_like_a_picture_is_no_picture(seeing, specs):
  request = task('<|vision_start|><|image_pad|><|vision_end|>', noise(28, 28))
  prompt = render(request, seeing, specs, load_template('compact'), limit=10_000, processor=SMALL)
  assert np.sum(prompt.tokens == seeing.image_pad_id) == prompt.vision[0].tokens
  assert seeing.image_pad_id not in seeing.stop_ids


def test_a_template_without_pictures_is_refused(tokenizer, folder, tmp_path):
  with pytest.raises(WeightsError, match='refuses the roles user'):
    encode_chat(tokenizer, [('user', ['a', 4])])
  copy = tmp_path / 'deaf'
  shutil.copytree(folder, copy)
  (copy / 'chat_template.jinja').write_text(
    '{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}'
  )
  with pytest.raises(WeightsError, match='shows 0 pictures where the messages have 1'):
    encode_chat(tokens.load(copy), [('user', ['a', 4])])


def test_a_picture_that_cannot_be_cut_names_its_task(seeing, specs):
  with pytest.raises(DataError, match=r'sight-1: .*402×2'):
    request = task(noise(402, 2))
    render(request, seeing, specs, load_template('compact'), limit=10_000, processor=SMALL)


def test_equal_pixels_are_one_picture():
  image = noise(30, 20)
  again = images.from_array(images.to_array(image))
  assert image.sha256 == again.sha256 == hashlib.sha256(image.png).hexdigest()
  other = dataclasses.replace(image, source='search:0')
  np.testing.assert_array_equal(cut(image, SMALL).patches, cut(other, SMALL).patches)
