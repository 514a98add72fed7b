import numpy as np

from llmi_jax.core.answer import Gap, Picture, Prose
from llmi_jax.core.document import Document, Malformed, Text, Thought, ToolCall
from llmi_jax.core.outcome import Candidate, ToolOutcome
from llmi_jax.services import images
from llmi_jax.tools.answer import compose

IMAGE = images.from_array(np.zeros((2, 2, 3), np.uint8))


def call(position):
  return ToolCall('<imgen>', 0, position=position, tool='search', description='', params={'query': 'x'})


def test_text_pictures_and_gaps_stand_in_order_and_thoughts_are_left_out():
  bad = Malformed('<imgen>x</imgen>', 0, position=2, reason='syntax', detail='it is no object')
  segments = (
    Text('a', 0),
    Thought('<think>b</think>', 1),
    Text('c', 9),
    call(0),
    Text('d', 20),
    call(1),
    bad,
  )
  ok = ToolOutcome('ok', 'none', (Candidate(IMAGE),))
  failed = ToolOutcome('failed', 'policy', error='No photograph\nmatches ' + 'x' * 999)
  parts = compose(Document(segments), {0: ok, 1: failed})
  prose, picture, more, gap, broken = parts
  assert (prose, more) == (Prose('ac'), Prose('d'))
  assert isinstance(picture, Picture) and (picture.image, picture.position) == (IMAGE, 0)
  assert isinstance(gap, Gap) and gap.outcome is failed and gap.position == 1
  assert 'No photograph matches' in gap.words and len(gap.words) <= 300
  assert isinstance(broken, Gap) and broken.call is bad and 'it is no object' in broken.words
