import asyncio

import numpy as np
import pytest

from llmi_jax.core.errors import ConfigError
from llmi_jax.core.outcome import Attribution
from llmi_jax.core.photograph import Photograph
from llmi_jax.services import images
from llmi_jax.tools.registry import Context, ToolFailure
from llmi_jax.tools.search import search_tool, words

CAPTIONS = {
  'cat': 'A tabby cat looks straight into the camera',
  'coffee': 'A cup of black coffee on a wooden table, seen from above',
  'rocket': 'A rocket lifts off in the early morning with a trail of fire',
  'galaxies': 'Thousands of galaxies in a deep field of the night sky',
  'café': 'People drink coffee in a street café',
}


def photographs():
  for shade, (title, caption) in enumerate(CAPTIONS.items()):
    image = images.from_array(np.full((2, 2, 3), shade, np.uint8))
    yield Photograph(image, title, caption, Attribution(title, 'somebody', 'CC0', ''))


def search(query, candidates=1):
  tool = search_tool(list(photographs()))
  return asyncio.run(tool.call({'query': query}, Context(candidates=candidates)))


@pytest.mark.parametrize(
  ('query', 'title'),
  [
    ('a cat', 'cat'),
    ('Cats!', 'cat'),
    ('photo of a rocket launch in the morning', 'rocket'),
    ('black coffee', 'coffee'),
    ('people in a CAFE', 'café'),
    ('galaxy', 'galaxies'),
  ],
)
def test_finds_the_photograph_that_is_meant(query, title):
  assert search(query).candidates[0].attribution.title == title


def test_candidates_are_ranked_and_carry_caption_score_and_credit():
  outcome = search('black coffee', 4)
  assert [c.attribution.title for c in outcome.candidates] == ['coffee', 'café']
  best, second = outcome.candidates
  assert (
    best.score > second.score and best.caption == CAPTIONS['coffee'] and best.attribution.licence == 'CC0'
  )


@pytest.mark.parametrize('query', ['submarine', 'a photo of the', '???', '猫'])
def test_a_query_without_a_matching_word_is_the_policys_miss(query):
  with pytest.raises(ToolFailure, match='No photograph matches') as raised:
    search(query)
  assert raised.value.fault == 'policy'


def test_no_corpus_is_a_config_error():
  with pytest.raises(ConfigError, match='no photographs'):
    search_tool([])


def test_words_are_folded():
  assert words('The Cherries & glasses of the bus, GLASS; naïve') == [
    'cherry',
    'glass',
    'bus',
    'glass',
    'naive',
  ]
