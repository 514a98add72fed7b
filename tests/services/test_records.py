import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmi_jax.core.answer import Answer, Gap, Picture, Prose
from llmi_jax.core.document import Document, Malformed, Text, ToolCall
from llmi_jax.core.errors import DataError
from llmi_jax.core.outcome import Attribution, Candidate, ToolOutcome
from llmi_jax.core.verdict import Score, Verdict
from llmi_jax.services import images, records

IMAGE = images.from_array(np.zeros((3, 4, 3), np.uint8), source='search:0')
CALL = ToolCall(
  '<imgen>…</imgen>', 5, position=0, tool='search', description='a cat', params={'query': 'cat', 'n': 1}
)
OK = ToolOutcome(
  'ok',
  'none',
  (Candidate(IMAGE, Attribution('t', 'a', 'CC0', 'p'), 'caption', 2), Candidate(IMAGE)),
  tool='search',
  seed=7,
  executed=(('query', 'cat'), ('steps', ('grey', 3, None, 1.5))),
  artefacts=(('stdout', 'x'),),
)


def round_trip(cls, record):
  assert all(image.sha256 == IMAGE.sha256 for image in records.pictures(record))
  text = json.dumps(records.encode(record))
  return records.decode(cls, json.loads(text), {IMAGE.sha256: IMAGE.png}.__getitem__)


@pytest.mark.parametrize(
  'record',
  [
    OK,
    ToolOutcome('failed', 'policy', error='no'),
    Verdict('llm', 'scored', (Score('text', 4.5), Score('choice', 1, '0-1', 'yes')), 'good', votes := 'm'),
    Verdict('mllm', 'missing', reason=f'down {votes}'),
  ],
)
def test_replies_come_back_equal_with_their_class(record):
  assert round_trip(ToolOutcome | Verdict, record) == record


def test_an_answer_with_its_document_comes_back_equal():
  bad = Malformed('<imgen>', 20, position=None, reason='unclosed', detail='…', tokens=(3, 4))
  document = Document((Text('hello', 0, tokens=(0, 3)), CALL, bad), 1)
  parts = (Prose('hello'), Picture(IMAGE, 0, CALL, OK), Gap('broken', None, bad))
  assert round_trip(Answer, Answer('t', parts, document)) == Answer('t', parts, document)


@given(st.text(), st.floats(allow_nan=False), st.integers(-(2**63), 2**63), st.none() | st.booleans())
def test_any_scalar_survives(text, number, whole, other):
  record = ToolOutcome('failed', 'policy', error=text, executed=(('a', number), ('b', whole), ('c', other)))
  assert round_trip(ToolOutcome, record) == record


@pytest.mark.parametrize(
  'data',
  [
    None,
    3,
    {},
    {'_': 'Verdict'},
    {'_': 'ToolOutcome'},
    {'_': 'ToolOutcome', 'status': 'ok', 'fault': 'none'},
  ],
)
def test_what_is_no_record_is_a_data_error(data):
  with pytest.raises(DataError, match='ToolOutcome cannot be read'):
    records.decode(ToolOutcome, data, {}.__getitem__)


def test_what_has_no_json_form_is_refused_when_written():
  with pytest.raises(TypeError, match='ndarray'):
    records.encode(ToolOutcome('failed', 'policy', executed=(('x', np.zeros(1)),)))
