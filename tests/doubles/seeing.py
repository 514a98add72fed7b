"""A tiny random Qwen2.5-VL as a whole Hugging Face folder: weights, tokenizer, chat template, processor."""

import json
import pathlib
import shutil

ASSETS = pathlib.Path(__file__).resolve().parents[2] / 'llmi_jax' / 'assets' / 'tiny'
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
PROCESSOR = {
  'image_processor_type': 'Qwen2VLImageProcessor',
  'patch_size': 2,
  'temporal_patch_size': 2,
  'merge_size': 2,
  'min_pixels': 64,
  'max_pixels': 32 * 32,
}
START, END, IMAGE, VIDEO = 1019, 1020, 1022, 1023  # in the tokenizer of the built-in policy


def make(folder: pathlib.Path):
  """Writes the folder and returns transformers' model."""
  from tests.models import originals

  original = originals.seeing(vocab_size=1024, max_position_embeddings=32_768)
  config = original.config
  config.image_token_id, config.video_token_id = IMAGE, VIDEO
  config.vision_start_token_id, config.vision_end_token_id = START, END
  original.save_pretrained(folder)
  for name in ('tokenizer.json', 'tokenizer_config.json', 'generation_config.json'):
    shutil.copy(ASSETS / name, folder / name)
  (folder / 'chat_template.jinja').write_text(TEMPLATE)
  (folder / 'preprocessor_config.json').write_text(json.dumps(PROCESSOR))
  return original
