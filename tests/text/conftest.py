"""Tools as the tests know them, and a tiny tokenizer in Qwen's form."""

import pytest

from llmi_jax.core.toolspec import Parameter, ToolSpec
from llmi_jax.text import bpe, tokens

SKELETONS = ('<imgen>{"source": "search", "description": "', '", "params": {"query": "', '"}}</imgen>')
TEXT = (
  'Show how sales moved over the year, with a lake at dawn. '
  '<imgen>{"source": "search", "description": "a lake", "params": {"query": "a lake at dawn"}}</imgen>\n'
  'In 2024 the harbour was quiet; 你好, naïve café 🙂.'
)


def _spec(name: str, description: str, *parameters: tuple[str, str, str], example=()) -> ToolSpec:
  return ToolSpec(name, description, tuple(Parameter(*p) for p in parameters), example)  # type: ignore[arg-type]


@pytest.fixture(scope='session')
def specs() -> tuple[ToolSpec, ...]:
  return (
    _spec(
      'search', 'Finds a photograph.', ('query', 'string', 'what to look for'), example=(('query', 'a lake'),)
    ),
    _spec('diffusion', 'Paints a picture.', ('prompt', 'string', 'what to paint')),
    _spec('code', 'Draws a plot.', ('code', 'string', 'Python that draws one figure')),
    _spec('edit', 'Changes a picture.', ('img_index', 'image', 'which'), ('prompt', 'string', 'how')),
    _spec('frame', 'Draws a grid.', ('code', 'string', 'Python'), ('rows', 'integer', 'how many')),
  )


@pytest.fixture(scope='session')
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp('tokenizer')
  bpe.train([TEXT] * 4, path, vocab_size=420, skeletons=SKELETONS)
  return path


@pytest.fixture(scope='session')
def tokenizer(folder) -> tokens.Tokenizer:
  return tokens.load(folder)
