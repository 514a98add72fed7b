"""Code that raised, mended: the error goes to a model, the model's code to the sandbox, a few times."""

import dataclasses
import hashlib
import re
from collections.abc import Mapping

from llmi_jax.core.document import ToolCall
from llmi_jax.core.image import Image
from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.core.task import Part, Task
from llmi_jax.judges import prompt
from llmi_jax.judges.quoting import quote
from llmi_jax.services.completion import ChatRequest
from llmi_jax.services.faults import ServiceFault
from llmi_jax.tts.crew import Crew, Repairer
from llmi_jax.tts.ledger import Complete
from llmi_jax.tts.listing import TEMPLATES

PARAMETER = 'code'
_PLACES = frozenset({'code', 'wish', 'source', 'error'})
_FENCED = re.compile(r'^(`{3,}|~{3,})[^\n]*\n(.*?)\n\1\s*$', re.DOTALL | re.MULTILINE)
_CHARACTERS = 8_000
_MOST = 20_000  # characters of a mended code


async def mended(
  task: Task,
  call: ToolCall,
  outcome: ToolOutcome,
  images: Mapping[int, Image],
  sample: int,
  crew: Crew,
  tries: int,
  variant: int,
) -> tuple[ToolCall, ToolOutcome, str] | None:
  """The call with its code mended, the outcome that has a picture, and a word about it; None without luck."""
  if crew.repairer is None or PARAMETER not in call.params:
    return None
  for attempt in range(tries):
    try:
      source = code(await crew.repairer(task, call, outcome.error))
    except ServiceFault:
      return None
    if not source or source == call.params[PARAMETER]:
      return None
    call = dataclasses.replace(call, params={**call.params, PARAMETER: source})
    outcome = await crew.run(call, images, sample, variant + attempt, 1)
    if outcome.image is not None:
      return call, outcome, f'code mended in {attempt + 1} of {tries} tries'
    if outcome.fault == 'environment':
      return None
  return None


def code(reply: str) -> str:
  """The code of a reply: its last fence; empty where it has none."""
  found = _FENCED.findall(reply)
  return found[-1][1].strip('\n')[:_MOST] if found else ''


def repairer(complete: Complete, temperature: float = 0.0, tokens: int = 2048) -> Repairer:
  """Asks a chat model."""
  template = prompt.load(str(TEMPLATES / 'repair.md'), _PLACES)

  async def ask(task: Task, call: ToolCall, error: str) -> str:
    source = str(call.params[PARAMETER])
    mark = hashlib.sha256(f'{task.question}\0{source}\0{error}'.encode('utf-8', 'replace')).hexdigest()[:12]
    values: dict[str, str | tuple[Part, ...]] = {
      'code': mark,
      'wish': quote(f'{task.question}\n\n{call.description}', _CHARACTERS),
      'source': quote(source, _MOST),
      'error': quote(error, _CHARACTERS),
    }
    return (await complete(ChatRequest(template.messages(values), temperature, tokens))).text

  return ask
