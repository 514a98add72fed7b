"""A task → what the policy reads: the tool prompt, then the task's own messages.

A template is a Jinja2 file that says how to write documents with tools. It sees `tools`, a list of
`ToolSpec`s, and `tag(tool)`, a filled-in example tag; nothing about any tool stands in the file itself.
"""

import dataclasses
import functools
import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmi_jax.core.errors import ConfigError, DataError
from llmi_jax.core.image import Image
from llmi_jax.core.prompt import Prompt, Vision
from llmi_jax.core.task import ImagePart, Message, Task
from llmi_jax.core.toolspec import Parameter, ToolSpec
from llmi_jax.text import pictures, tag
from llmi_jax.text.chat import Content, encode_chat
from llmi_jax.text.pictures import Processor
from llmi_jax.text.tokens import Tokenizer

BUILT_IN = ('default', 'compact')


@dataclasses.dataclass(frozen=True)
class Template:
  """A system prompt with a place for the tools.

  Attributes:
    name: a built-in name or a path.
    source: Jinja2 text.
  """

  name: str
  source: str

  def render(self, specs: Sequence[ToolSpec]) -> str:
    """The system prompt that offers exactly these tools.

    Raises:
      ConfigError: the template names what it is not given.
    """
    try:
      return _compile(self.source).render(tools=list(specs), tag=example_tag).strip()
    except (jinja2.TemplateError, TypeError, ValueError) as error:
      raise _bad_template(self.name, error) from error


def load_template(name_or_path: str) -> Template:
  """Loads a system prompt: `default` (for real language models), `compact` (for tiny ones) or a file.

  Raises:
    ConfigError: there is no such template, or it cannot be read.
  """
  if name_or_path in BUILT_IN:
    file = importlib.resources.files('llmi_jax.text') / 'templates' / f'{name_or_path}.md'
  else:
    file = Path(name_or_path)
  try:
    template = Template(name_or_path, file.read_text('utf-8'))
    _compile(template.source)
  except (OSError, UnicodeDecodeError) as error:
    known = ', '.join(BUILT_IN)
    raise ConfigError(
      f'The prompt template {name_or_path!r} cannot be read; give {known} or the path of a UTF-8 file.'
    ) from error
  except jinja2.TemplateError as error:
    raise _bad_template(name_or_path, error) from error
  return template


def example_tag(spec: ToolSpec) -> str:
  """A tag that calls the tool, with its example's parameters."""
  params = dict(spec.example) or {parameter.name: _stand_in(parameter) for parameter in spec.parameters}
  return tag.write(spec.name, 'what the picture shows', params)


def render(
  task: Task,
  tokenizer: Tokenizer,
  specs: Sequence[ToolSpec],
  template: Template,
  *,
  limit: int,
  processor: Processor | None = None,
) -> Prompt:
  """Renders a task.

  A system message of the task gives way to the template. Only the task's offered tools appear (all, if it
  names none). Pictures appear as marks that carry their image position, followed by the picture itself where
  the policy can see.

  Args:
    task: the request.
    tokenizer: the policy's.
    specs: the configured tools.
    template: the system prompt.
    limit: the most tokens a prompt may have.
    processor: cuts pictures for a policy with a vision tower; None for one that only reads.

  Raises:
    DataError: the prompt is too long, a picture cannot be cut, or the task offers a tool that is not
      configured.
    WeightsError: the chat template does not do what it should; see `encode_chat`.
  """
  system = template.render(offered(task, specs))
  seen = _see(task, processor) if processor else {}
  tokens, text = encode_chat(tokenizer, [('system', system), *_written(task, seen)])
  if len(tokens) > limit:
    raise DataError(
      f'Task {task.id}: its prompt has {len(tokens)} tokens and the limit is {limit}; '
      'raise the limit, or leave the task out.'
    )
  order = {sha256: index for index, sha256 in enumerate(seen)}
  shown = tuple(order[image.sha256] for image in _shown(task) if seen)
  return Prompt(tokens, text, tuple(seen.values()), shown)


def offered(task: Task, specs: Sequence[ToolSpec]) -> tuple[ToolSpec, ...]:
  """The tools that a task offers, in the order of `specs`.

  Raises:
    DataError: it offers one that is not configured.
  """
  unknown = sorted(set(task.offered_tools) - {spec.name for spec in specs})
  if unknown:
    raise DataError(
      f'Task {task.id}: it offers {unknown[0]}, which is not configured; add the tool or mend the task.'
    )
  return tuple(spec for spec in specs if not task.offered_tools or spec.name in task.offered_tools)


def _shown(task: Task) -> list[Image]:
  """The pictures of the messages that the policy is given."""
  messages = (message for message in task.messages if message.role != 'system')
  return [part.image for message in messages for part in message.content if isinstance(part, ImagePart)]


def _see(task: Task, processor: Processor) -> dict[str, Vision]:
  """Every distinct picture, cut once, by its digest."""
  seen: dict[str, Vision] = {}
  for image in _shown(task):
    if image.sha256 not in seen:
      try:
        seen[image.sha256] = pictures.cut(image, processor)
      except DataError as error:
        raise DataError(f'Task {task.id}: {error}') from error
  return seen


def _written(task: Task, seen: Mapping[str, Vision]) -> list[tuple[str, Content]]:
  """The messages, system ones left out; pictures are numbered through all of them."""
  written, number = [], 0
  for message in task.messages:
    content, number = _write(message, number, seen)
    if message.role != 'system':
      written.append((message.role, content))
  return written


def _write(message: Message, number: int, seen: Mapping[str, Vision]) -> tuple[Content, int]:
  """A message's content, which is one text where no picture is seen, and the number of the next picture."""
  done: list[str | int] = []
  text = ''
  for part in message.content:
    if isinstance(part, ImagePart):
      text += f'[picture {number}]'
      number += 1
      if part.image.sha256 in seen:
        done += [text, seen[part.image.sha256].tokens]
        text = ''
    else:
      text += part.text
  return ([*done, text] if done else text), number


def _stand_in(parameter: Parameter) -> str | int:
  return '…' if parameter.type == 'string' else 0


@functools.cache
def _compile(source: str) -> jinja2.Template:
  environment = ImmutableSandboxedEnvironment(
    undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
  )
  return environment.from_string(source)


def _bad_template(name: str, error: Exception) -> ConfigError:
  return ConfigError(
    f'The prompt template {name} has a mistake ({error}); it may use tools and tag(tool) only.'
  )
