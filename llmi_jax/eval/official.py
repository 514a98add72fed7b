"""The references' own judge prompts, read from the user's checkout; nothing of theirs is run or kept here.

Prompts that stand in Python files are taken from the syntax tree: constants, and f-strings as templates.
"""

import ast
import dataclasses
import pathlib
from collections.abc import Mapping

from llmi_jax.core.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class OpenING:
  """github.com/LanceZPF/OpenING.

  Attributes:
    score_system: of the absolute score.
    score_closing: behind the answer.
    pair_system: of the arena.
    pair_closing: behind both answers.
  """

  score_system: str
  score_closing: str
  pair_system: str
  pair_closing: str


@dataclasses.dataclass(frozen=True)
class Isg:
  """github.com/Dongping-Chen/ISG; texts are templates of `str.format`.

  Attributes:
    text_text: relation of two texts.
    text_image: of a text and a picture.
    image_image: of two pictures.
    image: a question about one picture.
    holistic: four pieces, between which query, answer and gold stand.
    requirements: `Score` and `Yes_No`.
  """

  text_text: str
  text_image: str
  image_image: str
  image: str
  holistic: tuple[str, str, str, str]
  requirements: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class LlmiBench:
  """github.com/ByteDance-BandAI/LLM-I, `evaluation/`.

  Attributes:
    system: the system message.
    user: a template with `{question}`, `{answer_text}` and `{criterion}`.
  """

  system: str
  user: str


@dataclasses.dataclass(frozen=True)
class InDomain:
  """The same repository's training judges, `system_prompts/training/`."""

  llm: str
  mllm: str


def opening(folder: str | pathlib.Path) -> OpenING:
  """OpenING's prompts.

  Raises:
    ConfigError: the folder is no checkout of it.
  """
  folder = pathlib.Path(folder)
  return OpenING(
    _text(folder / 'prompts' / 'detailed_score_system.txt'),
    _closing(folder / 'GPT_score_A.py', '\nPlease'),
    _text(folder / 'prompts' / 'judge_system.txt'),
    _closing(folder / 'GPT_judge_AB.py', '\nPlease'),
  )


def isg(folder: str | pathlib.Path) -> Isg:
  """ISG-Bench's prompts.

  Raises:
    ConfigError: the folder is no checkout of it.
  """
  path = pathlib.Path(folder) / 'ISG_eval' / 'get_judge_prompt.py'
  found: dict[str, object] = {}
  for node in ast.walk(_tree(path)):
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
      try:
        found[node.targets[0].id] = ast.literal_eval(node.value)
      except ValueError:
        continue  # made by code, so no prompt
  names = ('TEXT_TEXT_JUDGE', 'TEXT_IMAGE_JUDGE', 'IMAGE_IMAGE_JUDGE', 'DSG')
  texts = [found.get(f'_{name}_PROMPT') for name in names]
  whole, wanted = found.get('_EVALUATE_WHOLE_W_GT_PROMPT'), found.get('VQA_dict')
  if not all(isinstance(text, str) for text in texts) or not isinstance(whole, list) or len(whole) != 4:
    raise _not_there(path)
  if not isinstance(wanted, dict) or not {'Score', 'Yes_No'} <= wanted.keys():
    raise _not_there(path)
  one, two, three, four = map(str, whole)
  text_text, text_image, image_image, image = map(str, texts)
  return Isg(text_text, text_image, image_image, image, (one, two, three, four), wanted)


def llmi_bench(folder: str | pathlib.Path) -> LlmiBench:
  """LLMI-Bench's prompts.

  Raises:
    ConfigError: the folder is no checkout of it.
  """
  path = pathlib.Path(folder) / 'evaluation' / 'eval_mm.py'
  system = user = ''
  for node in ast.walk(_tree(path)):
    if not isinstance(node, ast.Assign):
      continue
    target, value = node.targets[0], node.value
    if (
      isinstance(target, ast.Attribute) and target.attr == 'system_prompt' and isinstance(value, ast.Constant)
    ):
      system = str(value.value)
    if isinstance(value, ast.JoinedStr) and 'criterion' in {_name(part) for part in value.values}:
      user = ''.join(_piece(part) for part in value.values)
  if not system or not user:
    raise _not_there(path)
  return LlmiBench(system, user)


def in_domain(folder: str | pathlib.Path) -> InDomain:
  """The released system's judge prompts.

  Raises:
    ConfigError: the folder is no checkout of it.
  """
  inside = pathlib.Path(folder) / 'system_prompts' / 'training'
  return InDomain(_text(inside / 'llmjudge.txt'), _text(inside / 'mllmjudge.txt'))


def _piece(part: ast.expr) -> str:
  """A piece of an f-string as a piece of a `str.format` template."""
  if isinstance(part, ast.Constant):
    return str(part.value).replace('{', '{{').replace('}', '}}')
  return '{' + _name(part) + '}'


def _name(part: ast.expr) -> str:
  inside = part.value if isinstance(part, ast.FormattedValue) else part
  return inside.id if isinstance(inside, ast.Name) else ''


def _closing(path: pathlib.Path, start: str) -> str:
  """The text constant of a script that begins so."""
  for node in ast.walk(_tree(path)):
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(start):
      return node.value
  raise _not_there(path)


def _tree(path: pathlib.Path) -> ast.Module:
  try:
    return ast.parse(_text(path))
  except (SyntaxError, ValueError) as error:
    raise _not_there(path) from error


def _text(path: pathlib.Path) -> str:
  try:
    return path.read_text('utf-8')
  except (OSError, UnicodeDecodeError) as error:
    raise ConfigError(
      f'--official_prompts: {path} cannot be read ({error}); give a checkout of the benchmark’s repository.'
    ) from error


def _not_there(path: pathlib.Path) -> ConfigError:
  return ConfigError(
    f'--official_prompts: {path} does not hold the prompts in the form known here; use ours instead.'
  )
