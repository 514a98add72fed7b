"""Pictures in their places: an answer taken apart by image position and put together again."""

import dataclasses
from collections.abc import Mapping, Sequence

from llmi_jax.core.answer import Answer, Gap, Picture
from llmi_jax.core.document import Document, ToolCall
from llmi_jax.core.image import Image
from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.core.task import Task
from llmi_jax.core.toolspec import ToolSpec
from llmi_jax.text import grammar, tag
from llmi_jax.tools import answer as answers


def calls(answer: Answer) -> dict[int, ToolCall]:
  """Image position → well-formed tag, in order."""
  document = answer.document
  return {call.position: call for call in document.calls} if document else {}


def outcomes(answer: Answer) -> dict[int, ToolOutcome]:
  """Image position → what became of its tag."""
  found = {}
  for part in answer.parts:
    if isinstance(part, Picture | Gap) and isinstance(part.call, ToolCall) and part.outcome is not None:
      found[part.call.position] = part.outcome
  return found


def needs(call: ToolCall, specs: Sequence[ToolSpec]) -> tuple[int, ...]:
  """The image positions that a call works on."""
  spec = next((spec for spec in specs if spec.name == call.tool), None)
  named = [p.name for p in spec.parameters if p.type == 'image' and p.name in call.params] if spec else []
  return tuple(int(call.params[name]) for name in named)


def pictures(task: Task, found: Mapping[int, ToolOutcome]) -> dict[int, Image]:
  """Image position → picture: those of the request, then those that were made."""
  made = {position: outcome.image for position, outcome in found.items() if outcome.image is not None}
  return dict(enumerate(task.input_images)) | made


def rebuilt(answer: Answer, document: Document, found: Mapping[int, ToolOutcome]) -> Answer:
  """The answer with another document and other outcomes; nobody has judged it yet."""
  parts = answers.compose(document, found)
  return dataclasses.replace(answer, parts=parts, document=document, verdicts=(), reward=None, usage=())


def reworded(
  document: Document, params: Mapping[int, Mapping[str, str | int]], specs: Sequence[ToolSpec]
) -> Document | None:
  """The document with other parameters in the tags at some positions; None where it would read otherwise."""
  if not params:
    return document
  raws = []
  for segment in document.segments:
    if isinstance(segment, ToolCall) and segment.position in params:
      raws.append(tag.write(segment.tool, segment.description, params[segment.position]))
    else:
      raws.append(segment.raw)
  return reread(''.join(raws), document, specs)


def reread(response: str, document: Document, specs: Sequence[ToolSpec]) -> Document | None:
  """Another response with the same tags at the same positions as the document; None where it has others."""
  found = grammar.parse(response, specs, document.inputs)
  same = [(c.position, c.tool) for c in found.calls] == [(c.position, c.tool) for c in document.calls]
  broken = [m.position for m in found.malformed] == [m.position for m in document.malformed]
  return found if same and broken else None
