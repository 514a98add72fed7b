"""Records refuse what cannot be."""

import hashlib

import pytest

from llmi_jax.core import errors
from llmi_jax.core.document import Document, Malformed, Text, ToolCall
from llmi_jax.core.image import Image
from llmi_jax.core.outcome import Candidate, ToolOutcome
from llmi_jax.core.task import ImageRule
from llmi_jax.core.verdict import Score, Verdict

PICTURE = Image(hashlib.sha256(b'png').hexdigest(), b'png', 2, 1)


def test_an_image_is_what_its_digest_says():
  with pytest.raises(ValueError, match='not the digest'):
    Image('0' * 64, b'png', 2, 1)
  with pytest.raises(ValueError, match='0×1 pixels'):
    Image(PICTURE.sha256, b'png', 0, 1)


@pytest.mark.parametrize('number', [-1, 0, 99, 1, 4])
def test_image_rules_keep_the_public_numbers(number):
  assert ImageRule.from_image_num(number).image_num == number


def test_other_image_rules_are_refused():
  with pytest.raises(ValueError, match='-2'):
    ImageRule.from_image_num(-2)
  with pytest.raises(ValueError, match='positive count'):
    ImageRule('free', 2)


@pytest.mark.parametrize(
  ('status', 'fault', 'candidates'),
  [('ok', 'none', ()), ('failed', 'policy', (Candidate(PICTURE),)), ('failed', 'none', ())],
)
def test_an_outcome_has_pictures_exactly_where_it_is_ok_and_a_culprit_elsewhere(status, fault, candidates):
  with pytest.raises(ValueError, match=status):
    ToolOutcome(status, fault, candidates)


def test_scores_stand_on_their_scale():
  assert Score('text', 3).unit == 0.5 and Score('overall', 7, '0-10').unit == 0.7
  with pytest.raises(ValueError, match='scale is 1-5'):
    Score('text', 6)
  with pytest.raises(ValueError, match='scale is 1-5'):
    Score('text', float('nan'))
  with pytest.raises(ValueError, match='missing Verdict'):
    Verdict('llm', 'missing', (Score('text', 3),))


def test_a_document_is_its_segments():
  call = ToolCall('<b>', 2, position=0, tool='search', description='', params={})
  bad = Malformed('<c', 5, position=None, reason='unclosed', detail='')
  document = Document((Text('ab', 0), call, bad))
  assert document.response == 'ab<b><c' and document.calls == (call,) and document.malformed == (bad,)
  assert call.end == bad.start


def test_of_failures_beside_each_other_the_first_that_can_be_mended_is_told():
  bug, mendable = ValueError('bug'), errors.DataError('No file; make it.')
  assert errors.told(BaseExceptionGroup('', [bug, mendable, errors.DataError('x')])) is mendable
  assert errors.told(BaseExceptionGroup('', [bug, KeyError('x')])) is bug
