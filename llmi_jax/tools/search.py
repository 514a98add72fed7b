"""The built-in search: ranked retrieval of real photographs by their captions (BM25)."""

import re
import unicodedata
from collections.abc import Sequence

from llmi_jax.core.errors import ConfigError
from llmi_jax.core.outcome import Candidate, ToolOutcome
from llmi_jax.core.photograph import Photograph
from llmi_jax.core.toolspec import Parameter, ToolSpec
from llmi_jax.tools.registry import Context, Params, Tool, ToolFailure, success

SPEC = ToolSpec(
  'search',
  'Finds a real photograph. Use it for things that exist and that readers expect to see as they are: places, '
  'animals, objects, people at work, instruments, events. Describe the subject in a few plain words.',
  (Parameter('query', 'string', 'what the photograph shows, in a few words'),),
  (('query', 'a tabby cat looking into the camera'),),
)

# Words that say nothing of what a photograph shows.
_SILENT = """
  a about above after all also an and any are around as at be been below between both but by can could did
  do does during each find for from get give has have he her here his how i if image in into is it its
  like look looking looks make may me more most my near no nor not of off on one only onto or our out over
  own photo photograph photography pic picture please real shot show showing shown shows so some such than
  that the their them then there these they this those through to too under up us use very view was we
  were what when where which while who why will with within without would you your
"""
_STOP = frozenset(_SILENT.split())


class Corpus:
  """Photographs, indexed by the words of their titles and captions."""

  def __init__(self, photographs: Sequence[Photograph]):
    from rank_bm25 import BM25Okapi

    if not photographs:
      raise ConfigError('The search corpus has no photographs; pass some, or leave the search tool out.')
    self._photographs = tuple(photographs)
    self._words = [words(f'{p.title} {p.caption}') for p in photographs]
    self._index = BM25Okapi(self._words)

  def find(self, query: str, count: int) -> list[Candidate]:
    """The best photographs that share a word with `query`, best first; the corpus order breaks ties."""
    asked = words(query)
    scores = self._index.get_scores(asked)
    hits = [i for i, own in enumerate(self._words) if not set(asked).isdisjoint(own)]
    hits.sort(key=lambda i: -scores[i])
    return [self._candidate(i, float(scores[i])) for i in hits[:count]]

  def _candidate(self, index: int, score: float) -> Candidate:
    found = self._photographs[index]
    return Candidate(found.image, found.attribution, found.caption, score)


def search_tool(photographs: Sequence[Photograph], spec: ToolSpec = SPEC) -> Tool:
  """The search tool over `photographs`."""
  corpus = Corpus(photographs)

  async def call(params: Params, context: Context) -> ToolOutcome:
    query = str(params['query'])
    found = corpus.find(query, context.candidates)
    if not found:
      raise ToolFailure(f'No photograph matches {query[:100]!r}.', 'policy')
    return success(*found)

  return Tool(spec, call, cached=False)


def words(text: str) -> list[str]:
  """The words that count, folded: lower case, no accents, plural as singular, no stop words."""
  plain = unicodedata.normalize('NFKD', text.lower())
  plain = ''.join(c for c in plain if not unicodedata.combining(c))
  found = (_singular(word) for word in re.findall(r'[^\W_]+', plain) if word not in _STOP)
  return [word for word in found if word not in _STOP]


def _singular(word: str) -> str:
  if len(word) > 4 and word.endswith('ies'):
    return word[:-3] + 'y'
  if len(word) > 4 and word.endswith(('ches', 'shes', 'xes', 'sses')):
    return word[:-2]
  if len(word) > 3 and word.endswith('s') and not word.endswith(('ss', 'us', 'is')):
    return word[:-1]
  return word
