"""The parts of a reward, each in [0, 1] or missing by name; no weight or gate touches them here."""

from collections.abc import Mapping
from typing import Literal

from llmi_jax.core.answer import Answer
from llmi_jax.core.reward import RewardParts, Term
from llmi_jax.core.task import Task
from llmi_jax.rewards import rules

# The released system gives the lowest visual score to answers with more pictures than this.
MOST_PICTURES = 10
_VISUAL = {'image_quality': 1.0, 'task_relevance': 1.0, 'text_image_relevance': 1.0}


def reward_parts(
  task: Task,
  answer: Answer,
  *,
  no_image: Literal['paper', 'released'] = 'paper',
  text_weight: float = 1.4,
  tag_weight: float = 0.6,
) -> RewardParts:
  """Takes a judged answer's reward apart (LLM-I §3.2).

      r = image rule (training form)
      L = ((a·text + b·tag)/(a + b) − 1)/4
      M = (mean(image_quality, task_relevance, text_image_relevance) − 1)/4

  Several votes of a judge are averaged. A verdict that is missing leaves its part None; a call that the
  environment lost leaves `rule` and `mllm` None.

  Args:
    task: what was asked.
    answer: with the verdicts of the judges `llm` and `mllm`.
    no_image: M of an answer without a picture. `paper`: 1 where the rule is `none`, else 0 (our reading, the
      paper is silent). `released`: 1, and 0 for more than ten pictures.
    text_weight: a.
    tag_weight: b.
  """
  lost = next((o for o in answer.outcomes if o.fault == 'environment'), None)
  if lost is not None:
    note = f'The environment lost a {lost.tool or "tool"} call: {lost.error}'
    rule, mllm = Term('rule', None, note), Term('mllm', None, note)
  else:
    rule, mllm = _rule(task, answer), _mllm(task, answer, no_image)
  llm = _judged(answer, 'llm', {'text': text_weight, 'tag': tag_weight})
  return RewardParts(rule, llm, mllm, diagnostics=_diagnostics(task, answer))


def _rule(task: Task, answer: Answer) -> Term:
  count = len(answer.pictures)
  wanted = f'exactly {task.image_rule.count}' if task.image_rule.count else task.image_rule.kind
  return Term('rule', rules.image_rule_score(task.image_rule, count), f'{count} made; the rule is {wanted}.')


def _mllm(task: Task, answer: Answer, no_image: str) -> Term:
  count = len(answer.pictures)
  if not count:
    full = no_image == 'released' or task.image_rule.kind == 'none'
    return Term('mllm', float(full), f'There is no picture to judge ({no_image} form).')
  if no_image == 'released' and count > MOST_PICTURES:
    return Term('mllm', 0.0, f'{count} pictures are more than {MOST_PICTURES} (released form).')
  return _judged(answer, 'mllm', _VISUAL)


def _judged(answer: Answer, judge: str, weights: Mapping[str, float]) -> Term:
  """The weighted mean of a judge's scores, moved to [0, 1] and averaged over its votes."""
  verdicts = [v for v in answer.verdicts if v.judge == judge]
  scored = [v for v in verdicts if v.status == 'scored']
  if not scored:
    reasons = '; '.join(f'{v.status}: {v.reason}' for v in verdicts) or 'it was not asked'
    return Term(judge, None, f'The judge {judge} gave no score ({reasons}).')
  votes = []
  for verdict in scored:
    units = {score.name: score.unit for score in verdict.scores}
    absent = sorted(weights.keys() - units.keys())
    if absent:
      return Term(judge, None, f'The judge {judge} gave no score named {absent[0]!r}.')
    votes.append(sum(weight * units[name] for name, weight in weights.items()) / sum(weights.values()))
  scores = ', '.join(f'{score.name} {score.value:g}' for score in scored[0].scores)
  note = scores if len(scored) == 1 else f'mean of {len(scored)} votes; the first: {scores}'
  return Term(judge, sum(votes) / len(votes), note)


def _diagnostics(task: Task, answer: Answer) -> tuple[Term, ...]:
  return (
    Term('valid_tag_rate', rules.valid_tag_rate(answer), 'well-formed tags / tags'),
    Term('tool_success', rules.tool_success(answer), 'successful calls / calls'),
    Term('tool_accuracy', rules.tool_accuracy(task, answer), 'exactly the required tools succeeded'),
    Term('r_tool', rules.r_tool(task, answer), 'required tools tried and successful, weighted'),
  )
