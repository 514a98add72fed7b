"""The parts of a reward, each in [0, 1] or missing by name; no weight or gate touches them here."""

import statistics
from collections.abc import Mapping, Sequence

from llmi_jax.core.answer import Answer
from llmi_jax.core.reward import RewardParts, Term
from llmi_jax.core.task import Task
from llmi_jax.core.verdict import Verdict
from llmi_jax.rewards import facts, rules
from llmi_jax.rewards.facts import Facts, Measure
from llmi_jax.rewards.presets import Form

# The released system gives the lowest visual score to answers with more pictures than this.
MOST_PICTURES = 10
_VISUAL = {'image_quality': 1.0, 'task_relevance': 1.0, 'text_image_relevance': 1.0}


def reward_parts(
  task: Task,
  answer: Answer,
  form: Form = Form(),
  extra: Sequence[str] = (),
  own: Mapping[str, Measure] = facts.NONE,
) -> RewardParts:
  """Takes a judged answer's reward apart; see `take_apart` and, for `own`, `facts.of_answer`."""
  return take_apart(facts.of_answer(task, answer, own), form, extra)


def take_apart(found: Facts, form: Form = Form(), extra: Sequence[str] = ()) -> RewardParts:
  """Takes a reward apart (LLM-I §3.2).

      r = image rule (training form)
      L = ((a·text + b·tag)/(a + b) − 1)/4
      M = (mean(image_quality, task_relevance, text_image_relevance) − 1)/4

  Of several votes each score's median counts; at least half of them plus one must be there. A verdict that
  is missing leaves its part None; a call that the environment lost leaves `rule` and `mllm` None.

  Args:
    found: with the verdicts of the judges `llm` and `mllm`; other judges give no reward.
    form: of the parts.
    extra: diagnostics that are rewarded too. One that does not apply (None) counts 1: nothing was done wrong.
  """
  named = {term.name: term for term in found.diagnostics}
  further = tuple(Term(n, 1.0 if named[n].value is None else named[n].value, named[n].note) for n in extra)
  if found.lost and form.missing == 'unscorable':
    gone = tuple(Term(term.name, None, found.lost) for term in further)
    lost = Term('rule', None, found.lost), Term('mllm', None, found.lost)
    return RewardParts(lost[0], _llm(found, form), lost[1], gone, found.diagnostics)
  return RewardParts(_rule(found), _llm(found, form), _mllm(found, form), further, found.diagnostics)


def _rule(found: Facts) -> Term:
  wanted = f'exactly {found.rule.count}' if found.rule.count else found.rule.kind
  score = rules.image_rule_score(found.rule, found.pictures)
  return Term('rule', score, f'{found.pictures} made; the rule is {wanted}.')


def _llm(found: Facts, form: Form) -> Term:
  pinned = {'text': 0.0} if form.wordless == 'lowest' and found.wordless else {}
  return _judged(found.verdicts, 'llm', {'text': form.text, 'tag': form.tag}, form, pinned)


def _mllm(found: Facts, form: Form) -> Term:
  if not found.pictures:
    full = form.no_image == 'released' or found.rule.kind == 'none'
    return Term('mllm', float(full), f'There is no picture to judge ({form.no_image} form).')
  if form.no_image == 'released' and found.pictures > MOST_PICTURES:
    return Term('mllm', 0.0, f'{found.pictures} pictures are more than {MOST_PICTURES} (released form).')
  return _judged(found.verdicts, 'mllm', _VISUAL, form, {})


def _judged(
  verdicts: Sequence[Verdict],
  judge: str,
  weights: Mapping[str, float],
  form: Form,
  pinned: Mapping[str, float],
) -> Term:
  """The weighted mean of a judge's scores, each the median of its votes, moved to [0, 1]."""
  asked = [v for v in verdicts if v.judge == judge]
  scored = [v for v in asked if v.status == 'scored']
  votes = [{score.name: score.unit for score in verdict.scores} for verdict in scored]
  absent = sorted({name for vote in votes for name in weights if name not in vote})
  if form.missing == 'lowest':
    votes = [*votes, *({} for _ in range(max(1, len(asked)) - len(votes)))]
  elif absent:
    return Term(judge, None, f'The judge {judge} gave no score named {absent[0]!r}.')
  elif 2 * len(scored) <= len(asked) or not asked:
    reasons = (
      '; '.join(f'{v.status}: {v.reason}' for v in asked if v.status != 'scored') or 'it was not asked'
    )
    return Term(judge, None, f'The judge {judge} gave no score ({reasons}).')
  medians = {name: statistics.median(vote.get(name, 0.0) for vote in votes) for name in weights}
  units = {**medians, **pinned}
  value = sum(weight * units[name] for name, weight in weights.items()) / sum(weights.values())
  return Term(judge, value, _note(scored, units))


def _note(scored: Sequence[Verdict], units: Mapping[str, float]) -> str:
  if len(scored) == 1:
    return ', '.join(f'{score.name} {score.value:g}' for score in scored[0].scores)
  medians = ', '.join(f'{name} {1 + 4 * unit:g}' for name, unit in units.items())
  return f'median of {len(scored)} votes: {medians}'
