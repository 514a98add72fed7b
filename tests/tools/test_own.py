"""A tool of one's own, and the worked example of the docs against another maker of QR codes."""

import asyncio
import pathlib

import numpy as np
import pytest

from llmi_jax.core.errors import ConfigError
from llmi_jax.services import images
from llmi_jax.text import grammar, prompts
from llmi_jax.tools import own, search
from llmi_jax.tools.registry import Context, ToolFailure

EXAMPLE = pathlib.Path(__file__).parents[2] / 'docs' / 'own_tool' / 'qr_code.py'


@pytest.fixture(scope='module')
def tool():
  return own.load(str(EXAMPLE))


@pytest.mark.parametrize('length', [17, 32, 53, 78, 106])
def test_full_codes_are_those_of_another_maker(tool, length):
  segno = pytest.importorskip('segno')
  data = bytes(np.random.default_rng(length).integers(0, 256, length, np.uint8))
  options = {'error': 'l', 'mask': 0, 'mode': 'byte', 'micro': False, 'boost_error': False}
  other = np.array(segno.make(data, **options).matrix, bool)
  assert np.array_equal(tool.call.__globals__['matrix'](data), other)


@pytest.mark.parametrize('text', ['a', 'https://arxiv.org/abs/2509.13642', 'Grüße 😀', 'x' * 99])
def test_a_picture_says_its_text(tool, text):
  outcome = asyncio.run(tool.call({'text': text}, Context()))
  pixels = images.to_array(outcome.image)[::8, ::8, 0]
  assert (pixels[:4] == 255).all() and (pixels[:, :4] == 255).all()  # the quiet zone
  code = pixels[4:-4, 4:-4] == 0
  names = tool.call.__globals__
  dark, taken = np.zeros_like(code), np.zeros_like(code)
  names['_draw_patterns'](dark, taken, (len(code) - 17) // 4)
  assert np.array_equal(code[taken], dark[taken])
  free = [(row, column) for row, column in names['_path'](len(code)) if not taken[row, column]]
  bits = ''.join(str(int(code[place] ^ (sum(place) % 2 == 0))) for place in free)
  assert bits[:4] == '0100'
  length = int(bits[4:12], 2)
  assert bytes(int(bits[12 + 8 * i : 20 + 8 * i], 2) for i in range(length)).decode() == text


def test_what_does_not_fit_is_the_policys_doing(tool):
  with pytest.raises(ToolFailure, match='106') as raised:
    asyncio.run(tool.call({'text': 'x' * 107}, Context()))
  assert raised.value.fault == 'policy'


def test_prompts_and_the_grammar_know_it_by_its_spec_alone(tool):
  specs = (search.SPEC, tool.spec)
  assert 'qr_code' in prompts.load_template('compact').render(specs)
  tag = '<imgen>{"source": "qr_code", "description": "d", "params": {"text": "hello"}}</imgen>'
  (call,) = grammar.parse(tag, specs, 0).segments
  assert (call.tool, call.params) == ('qr_code', {'text': 'hello'})


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    (None, 'does not exist'),
    ('1 / 0', 'ZeroDivisionError'),
    ('def get_tool(', 'SyntaxError'),
    ('import nothing_of_this_name', 'ModuleNotFoundError'),
    ('x = 1', 'no get_tool'),
    ('def get_tool(): return 7', 'no get_tool'),
  ],
)
def test_a_file_that_is_no_tool_is_told_in_a_sentence(tmp_path, text, words):
  path = tmp_path / 'mine.py'
  if text is not None:
    path.write_text(text)
  with pytest.raises(ConfigError, match=words) as raised:
    own.load(str(path))
  assert 'mine.py' in str(raised.value)
