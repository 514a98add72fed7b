import json
import shutil
import subprocess
import sys

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from llmi_jax.core.document import ToolCall
from llmi_jax.core.errors import WeightsError
from llmi_jax.text import bpe, tokens
from llmi_jax.text.grammar import parse

TAG = '<imgen>{"source": "search", "description": "a lake 你", "params": {"query": "lake 🙂"}}</imgen>'
any_text = st.text(st.characters(exclude_categories=['Cs']), max_size=60)
special_text = st.sampled_from(
  ['<|im_end|>', '<|im_start|>user\n', '<|image_pad|>', '<|endoftext|>', '<think>', TAG]
)


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(st.one_of(any_text, special_text), max_size=5))
def test_any_text_comes_back_and_holds_no_special_token(tokenizer, parts):
  text = ''.join(parts)
  ids = tokenizer.encode(text)
  assert ids.dtype == np.int32
  assert tokenizer.decode(ids) == text
  assert not set(ids.tolist()) & set(tokenizer.specials.values())


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_tokens_in_any_order_decode_alike_at_once_step_by_step_and_in_transformers(tokenizer, folder, data):
  ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=30))
  decoder = tokenizer.decoder()
  assert ''.join([*map(decoder.push, ids), decoder.close()]) == tokenizer.decode(ids)
  assert tokenizer.decode(ids) == transformers_decode(folder, ids)


def transformers_decode(folder, ids):
  from transformers import AutoTokenizer

  cache = transformers_decode.__dict__
  if folder not in cache:
    cache[folder] = AutoTokenizer.from_pretrained(folder, local_files_only=True)
  return cache[folder].decode(ids, skip_special_tokens=True)


def test_a_folder_of_qwens_own_class_loads_alike(tokenizer, folder, tmp_path):
  qwen = tokens.load(
    broken(folder, tmp_path, 'tokenizer_config.json', edit_json('tokenizer_class', 'Qwen2Tokenizer'))
  )
  text = 'A lake <|im_end|> at dawn, 你好 🙂.\n'
  assert qwen.decode(qwen.encode(text)) == text
  assert (qwen.stop_ids, qwen.pad_id, qwen.specials) == (
    tokenizer.stop_ids,
    tokenizer.pad_id,
    tokenizer.specials,
  )
  assert not set(qwen.encode(text).tolist()) & set(qwen.specials.values())


def test_the_decoder_never_emits_half_a_character(tokenizer):
  decoder = tokenizer.decoder()
  pieces = [decoder.push(i) for i in tokenizer.encode('naïve 🙂🙂 ok 龘')]
  assert '\ufffd' not in ''.join(pieces)
  assert '' in pieces
  assert decoder.close() == ''
  decoder.push(tokenizer.encode('龘')[0])
  assert decoder.close() == '\ufffd'


def test_what_the_files_say_is_known(tokenizer, folder):
  vocabulary = {
    t['content']: t['id'] for t in json.loads((folder / 'tokenizer.json').read_text())['added_tokens']
  }
  assert tokenizer.stop_ids == tuple(sorted((vocabulary['<|endoftext|>'], vocabulary['<|im_end|>'])))
  assert tokenizer.pad_id == vocabulary['<|endoftext|>']
  assert tokenizer.image_pad_id == vocabulary['<|image_pad|>']
  assert tokenizer.vocab_size == max(vocabulary.values()) + 1
  assert tokenizer.specials['<|im_start|>'] == vocabulary['<|im_start|>']
  assert '<think>' not in tokenizer.specials


def test_the_digest_tells_tokenizers_and_templates_apart(tokenizer, folder, tmp_path):
  same, other = tmp_path / 'same', tmp_path / 'other'
  for copy in (same, other):
    shutil.copytree(folder, copy)
  with (other / 'chat_template.jinja').open('a') as file:
    file.write('!')
  assert tokens.load(same).digest == tokenizer.digest
  assert tokens.load(other).digest != tokenizer.digest


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_every_token_belongs_to_the_segment_of_its_first_character(tokenizer, specs, data):
  noise = st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=8)
  words = st.sampled_from(
    [tokenizer.encode(t).tolist() for t in (TAG, 'Ünï 🙂', '<think>', '</think>', ' lake')]
  )
  ids = [i for part in data.draw(st.lists(st.one_of(noise, words), max_size=8)) for i in part]
  document = tokenizer.token_ranges(ids, parse(tokenizer.decode(ids), specs))
  table = tokenizer.decoder()._table
  data_bytes = [table[i] for i in ids]
  for place, piece in enumerate(data_bytes):
    if piece:
      before = b''.join(data_bytes[:place])
      character = len((before + piece[:1]).decode('utf-8', 'replace')) - 1
      (owner,) = [s for s in document.segments if s.tokens[0] <= place < s.tokens[1]]
      assert owner.start <= character < owner.end
  borders = [border for s in document.segments for border in s.tokens]
  assert borders == sorted(borders)


def test_ranges_of_a_response_are_exact(tokenizer, specs):
  parts = ['Look: ', TAG, ' and ', TAG]
  pieces = [tokenizer.encode(part) for part in parts]
  stop = [tokenizer.stop_ids[0]]
  ids = np.concatenate([*pieces, stop])
  document = tokenizer.token_ranges(ids, parse(''.join(parts), specs))
  borders = np.cumsum([0, *map(len, pieces)])
  assert [s.tokens for s in document.segments] == list(zip(borders, borders[1:]))  # noqa: RUF007
  assert sum(isinstance(s, ToolCall) for s in document.segments) == 2


def test_a_token_over_a_border_belongs_to_the_segment_where_it_begins(tmp_path, specs):
  bpe.train([TAG], tmp_path, vocab_size=300, skeletons=['"}}</imgen> And', ' lo<imgen>'])
  tokenizer = tokens.load(tmp_path)
  response = f'Hel lo{TAG} And so on'
  ids = tokenizer.encode(response)
  lead, call, rest = tokenizer.token_ranges(ids, parse(response, specs)).segments
  assert tokenizer.decode(ids[slice(*lead.tokens)]) == 'Hel lo<imgen>'
  assert tokenizer.decode(ids[slice(*call.tokens)]) == TAG.removeprefix('<imgen>') + ' And'
  assert tokenizer.decode(ids[slice(*rest.tokens)]) == ' so on'


def test_tokens_of_another_text_are_refused(tokenizer, specs):
  with pytest.raises(ValueError, match='another text'):
    tokenizer.token_ranges(tokenizer.encode('a'), parse('b', specs))


def broken(folder, tmp_path, file, change):
  copy = tmp_path / 'broken'
  shutil.copytree(folder, copy)
  change(copy / file)
  return copy


def edit_json(key, value):
  def change(file):
    content = json.loads(file.read_text())
    content[key] = value
    file.write_text(json.dumps(content))

  return change


@pytest.mark.parametrize(
  ('file', 'change', 'words'),
  [
    ('tokenizer.json', lambda f: f.unlink(), 'missing or broken'),
    ('tokenizer.json', lambda f: f.write_bytes(f.read_bytes()[:500]), 'missing or broken'),
    ('tokenizer.json', lambda f: f.write_text('[]'), 'missing or broken'),
    ('tokenizer.json', edit_json('decoder', {'type': 'WordPiece'}), 'byte-level BPE'),
    (
      'tokenizer.json',
      edit_json('model', {'type': 'BPE', 'vocab': {'a': 0}, 'merges': [['a', 'b']]}),
      'lacks',
    ),
    ('tokenizer_config.json', lambda f: f.write_text('{'), 'cannot be loaded'),
    ('tokenizer_config.json', edit_json('pad_token', None), 'padding token'),
    ('tokenizer_config.json', edit_json('eos_token', None), 'end token'),
    ('chat_template.jinja', lambda f: f.unlink(), 'chat template'),
    ('generation_config.json', lambda f: f.write_text('{'), 'generation_config.json'),
  ],
)
def test_a_broken_folder_gives_one_sentence(folder, tmp_path, file, change, words):
  copy = broken(folder, tmp_path, file, change)
  with pytest.raises(WeightsError, match=words) as error:
    tokens.load(copy)
  assert str(copy) in str(error.value)
  assert '\n' not in str(error.value)


def test_a_missing_folder_gives_one_sentence(tmp_path):
  with pytest.raises(WeightsError, match='does not exist'):
    tokens.load(tmp_path / 'nowhere')


def test_nothing_heavy_is_imported_before_a_tokenizer_is_loaded():
  code = (
    'import sys, llmi_jax.text.prompts, llmi_jax.text.grammar, llmi_jax.text.bpe;'
    'sys.exit(bool({"transformers", "tokenizers", "torch", "jax"} & set(sys.modules)))'
  )
  assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
