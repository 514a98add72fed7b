"""What a reward reads of an answer: counts, verdicts and prose. Made of an answer, or of a stored rollout."""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType

from llmi_jax.core.answer import Answer, Gap, Prose
from llmi_jax.core.document import Malformed
from llmi_jax.core.reward import Term
from llmi_jax.core.task import ImageRule, Task
from llmi_jax.core.verdict import Verdict
from llmi_jax.rewards import hygiene, rules

# A value in [0, 1], or None where it does not apply, and where it comes from.
Measure = Callable[[Task, Answer], tuple[float | None, str]]
NONE: Mapping[str, Measure] = MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class Facts:
  """An answer without its pictures' bytes.

  Attributes:
    rule: the task's image rule.
    pictures: how many there are.
    lost: how a call was lost to the environment; empty where none was.
    verdicts: of all judges.
    wordless: whether the prose has no words.
    diagnostics: what else can be counted, in [0, 1]; None where it does not apply.
  """

  rule: ImageRule
  pictures: int
  lost: str
  verdicts: tuple[Verdict, ...]
  wordless: bool
  diagnostics: tuple[Term, ...]


def of_answer(task: Task, answer: Answer, own: Mapping[str, Measure] = NONE) -> Facts:
  """The facts of a judged answer; `own` are further diagnostics by name."""
  lost = next((o for o in answer.outcomes if o.fault == 'environment'), None)
  prose = ' '.join(part.text for part in answer.parts if isinstance(part, Prose))
  fenced = any(
    isinstance(part, Gap) and isinstance(part.call, Malformed) and part.call.reason == 'fenced'
    for part in answer.parts
  )
  return Facts(
    task.image_rule,
    len(answer.pictures),
    f'The environment lost a {lost.tool or "tool"} call: {lost.error}' if lost else '',
    answer.verdicts,
    hygiene.wordless(prose),
    (
      Term('valid_tag_rate', rules.valid_tag_rate(answer), 'well-formed tags / tags'),
      Term('tool_success', rules.tool_success(answer), 'successful calls / calls'),
      Term('tool_accuracy', rules.tool_accuracy(task, answer), 'exactly the required tools succeeded'),
      Term('r_tool', rules.r_tool(task, answer), 'required tools tried and successful, weighted'),
      hygiene.term(prose, fenced),
      *(Term(name, *measure(task, answer)) for name, measure in own.items()),
    ),
  )
