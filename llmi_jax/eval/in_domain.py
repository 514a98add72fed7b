"""The in-domain test set: tasks as the policy is trained on, scored by the reward's own parts.

| figure | what |
|---|---|
| reward | the gated sum, with the image rule in its exact form |
| exact_rule | 1 where the number of pictures is what was asked, else 0 |
| rule | the image rule in its training form |
| llm, mllm | the judges' scores, moved to [0, 1] |
| valid_tag_rate, tool_success, tool_accuracy, r_tool, hygiene | see `rewards/facts` |

`repo` is the released validation: a reply that cannot be read is the lowest score, no picture is full visual
marks (shown as 0), more than ten are the lowest, grades are not clamped, and the words `<image>` in the text
count as pictures. `fixed` is the paper's reward: what the environment lost is missing, pictures are counted.
"""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from llmi_jax.core.answer import Answer, Gap, Picture, Prose
from llmi_jax.core.errors import DataError
from llmi_jax.core.reward import RewardParts, Term
from llmi_jax.core.task import ImagePart, Message, Part, TextPart
from llmi_jax.core.verdict import Score, Verdict
from llmi_jax.data import tasks
from llmi_jax.data.rollout import from_answer
from llmi_jax.eval import framing, table, tools
from llmi_jax.eval.calls import Call, Grades, Said
from llmi_jax.eval.forms import Lines, Words, whole_number
from llmi_jax.eval.official import InDomain as Official
from llmi_jax.eval.record import Answered, Fault, Judged, Mode, Record, Value
from llmi_jax.eval.streams import json_lines
from llmi_jax.eval.table import Column, Table
from llmi_jax.judges import verdict_form
from llmi_jax.judges.judge import Judge
from llmi_jax.judges.remote import LLM, MLLM, RemoteJudge, Settings
from llmi_jax.judges.verdict_form import Unreadable
from llmi_jax.report import reward
from llmi_jax.rewards import parts, rules
from llmi_jax.rewards.presets import PRESETS, Preset
from llmi_jax.services.completion import ChatReply, ChatRequest

RESULTS = 'in_domain.jsonl'
_MARK = '<image>'
_MOST = parts.MOST_PICTURES
# Names of scores in the reference's replies.
_OFFICIAL = {
  'llm': {'text': 'Text', 'tag': 'Image'},
  'mllm': {
    'image_quality': 'Image Quality',
    'task_relevance': 'Task Relevance',
    'text_image_relevance': 'Text-Image Relevance',
  },
}
_FIGURES = ('reward', 'exact_rule', 'rule', 'llm', 'mllm')
_CALLED = ('tool_accuracy', 'r_tool')
_COUNTED = ('valid_tag_rate', 'tool_success', 'tool_accuracy', 'r_tool', 'hygiene')


@dataclasses.dataclass(frozen=True)
class InDomain:
  """The benchmark; see `record.Benchmark`.

  Attributes:
    path: a parquet file, or `builtin`.
    split: that is taken.
    mode: of the benchmark.
    model: the judging model's name, part of what its replies depend on.
    temperature: of the judge.
    official: the reference's own prompts; None for ours.
    programs: judges that ask nobody, instead of a model.
    text: weight of the text score within the text judge's.
    tag: of the tag score; 1.5 and 0.5 for policies that see, in the released recipe.
  """

  path: str | pathlib.Path
  split: str | None = 'test'
  mode: Mode = 'fixed'
  model: str = ''
  temperature: float = 0.5
  official: Official | None = None
  programs: Sequence[Judge] = ()
  text: float = 1.4
  tag: float = 0.6
  name: str = 'in_domain'
  apart: bool = False

  def records(self) -> Iterator[Record | Fault]:
    for found in tasks.each(self.path, self.split):
      if isinstance(found, DataError):
        yield Fault(str(self.path), str(found))
      else:
        yield Record(found, found.id, found.category[0] if found.category else 'all tasks')

  def plan(self, record: Record, answered: Answered) -> tuple[Call, ...]:
    answer = answered.answer
    if answer is None or self.programs:
      return ()
    return tuple(call for base in (LLM, MLLM) if (call := self._call(base, record, answer)) is not None)

  def _call(self, base: Settings, record: Record, answer: Answer) -> Call | None:
    if base is MLLM and (not answer.pictures or (self.mode == 'repo' and self._count(answer) > _MOST)):
      return None
    if self.official is not None:
      return self._official(base, record, answer, self.official)
    inputs = 0 if self.mode == 'repo' else base.inputs
    gates = () if self.mode == 'repo' else base.gates
    used = dataclasses.replace(base, temperature=self.temperature, inputs=inputs, gates=gates)
    judge = RemoteJudge(used, _unused, self.model)
    if judge.spared(record.task, answer) is not None:
      return None
    question = judge.prepare(record.task, answer)
    fields = dict.fromkeys(used.scores, verdict_form.whole_numbers(1, 5))
    about = f'{", ".join(used.scores)}'
    return Call(base.name, question.request, Lines(question.code, fields), judge.prompt_hash, about=about)

  def _official(self, base: Settings, record: Record, answer: Answer, prompts: Official) -> Call:
    system = prompts.llm if base is LLM else prompts.mllm
    shown: list[Part] = [TextPart(f'Question: {record.task.question}\nAnswer: ')]
    if base is LLM:
      text = answer.document.response if answer.document else _marked(answer)
      shown.append(TextPart(re.sub(r'<think>.*?</think>', '', text, flags=re.DOTALL)))
    else:
      for part in answer.parts:
        if isinstance(part, Picture):
          shown.append(ImagePart(part.image))
        else:
          shown.append(TextPart(part.text if isinstance(part, Prose) else '<fail_to_generate_image>'))
    messages = Message('system', (TextPart(system),)), Message('user', framing.user(shown))
    request = ChatRequest(messages, self.temperature, framing.TOKENS)
    reader = Words(_reader(_OFFICIAL[base.name], self.mode))
    return Call(base.name, request, reader, framing.wording(system), about=', '.join(base.scores))

  def _count(self, answer: Answer) -> int:
    """Pictures as the mode counts them."""
    words = sum(part.text.count(_MARK) for part in answer.parts if isinstance(part, Prose))
    return len(answer.pictures) + (words if self.mode == 'repo' else 0)

  async def score(self, record: Record, answered: Answered, said: Mapping[str, Said]) -> Judged:
    answer = answered.answer
    if answer is None:
      values = tuple(Value(name, None, 'absent', 'There is no answer.') for name in (*_FIGURES, *_COUNTED))
      return Judged(record.id, record.group, values, answered=False)
    verdicts = await self._verdicts(record, answer, said)
    answer = dataclasses.replace(answer, verdicts=verdicts)
    preset = self._preset()
    exact = rules.image_rule_score(record.task.image_rule, self._count(answer), exact=True)
    taken = parts.reward_parts(record.task, answer, preset.form)
    training = taken.rule
    if self.mode == 'repo':
      taken = self._released(record, answer, taken, said)
      training = Term('rule', rules.image_rule_score(record.task.image_rule, self._count(answer)))
    exactly = Term('rule', None if taken.rule.value is None else exact, taken.rule.note)
    judged = dataclasses.replace(taken, rule=exactly)
    values = self._values(record, answer, judged, training, preset)
    floored = self._floored(said)
    values = tuple(
      dataclasses.replace(v, kind='floored') if v.name in floored and v.value is not None else v
      for v in values
    )
    row = {
      **{'id': record.id, 'answer': answer.document.response if answer.document else _marked(answer)},
      'values': {value.name: value.value for value in values},
      'tools': tools.calls(answer) if answer.document else None,
    }
    return Judged(record.id, record.group, values, self._told(said, verdicts), row)

  def _preset(self) -> Preset:
    base = PRESETS['released' if self.mode == 'repo' else 'paper']
    return dataclasses.replace(base, form=dataclasses.replace(base.form, text=self.text, tag=self.tag))

  def _values(
    self, record: Record, answer: Answer, judged: RewardParts, training: Term, preset: Preset
  ) -> tuple[Value, ...]:
    scored = dataclasses.replace(answer, reward=judged)
    shares = reward.shares(from_answer(scored, record.task, preset.weights, preset.gate).parts)
    total = reward.total(shares)
    mllm = judged.mllm
    if self.mode == 'repo' and not answer.pictures:
      mllm = Term('mllm', 0.0, 'There is no picture: full marks in the reward, shown as 0.')
    exact = judged.rule
    terms = (Term('reward', total), Term('exact_rule', exact.value, exact.note), training, judged.llm, mllm)
    counted = [_counted(term) for term in judged.diagnostics if term.name in _COUNTED]
    if answer.document is None:  # nothing is known of its calls
      words = 'Its calls are not known.'
      counted = [Value(v.name, None, 'absent', words) if v.name in _CALLED else v for v in counted]
    return (*(_value(term) for term in terms), *counted)

  async def _verdicts(self, record: Record, answer: Answer, said: Mapping[str, Said]) -> tuple[Verdict, ...]:
    if self.programs:
      return tuple([await judge.judge(record.task, answer) for judge in self.programs])
    found = []
    for base in (LLM, MLLM):
      if base.name in said:
        found.append(_verdict(base, said[base.name]))
      elif base is MLLM and not answer.pictures:
        found.append(Verdict('mllm', 'not_applicable', reason='There is no picture.'))
      elif self.mode == 'fixed':
        spared = RemoteJudge(base, _unused, self.model).spared(record.task, answer)
        found += [spared] if spared else []
    return tuple(found)

  def _released(
    self, record: Record, answer: Answer, taken: RewardParts, said: Mapping[str, Said]
  ) -> RewardParts:
    """Judges' terms from unclamped grades, the lowest for what cannot be read."""
    if self.programs:
      return taken
    grades = {
      name: [said[name].number(s) if name in said else None for s in _OFFICIAL[name]] for name in _OFFICIAL
    }
    text, tag = (1.0 if grade is None else grade for grade in grades['llm'])
    if all(not part.text.strip() for part in answer.parts if isinstance(part, Prose)):
      text = 1.0
    llm = Term('llm', ((self.text * text + self.tag * tag) / (self.text + self.tag) - 1) / 4)
    if self._count(answer) > _MOST:
      return dataclasses.replace(taken, llm=llm, mllm=Term('mllm', 0.0, f'More than {_MOST} pictures.'))
    if not answer.pictures:
      return dataclasses.replace(taken, llm=llm, mllm=Term('mllm', 1.0, 'There is no picture.'))
    seen = [1.0 if grade is None else grade for grade in grades['mllm']]
    return dataclasses.replace(taken, llm=llm, mllm=Term('mllm', (sum(seen) / len(seen) - 1) / 4))

  def _floored(self, said: Mapping[str, Said]) -> set[str]:
    """Terms that hold a score which no judge gave."""
    if self.mode == 'fixed':
      return set()
    return {n for n, s in said.items() if any(s.number(grade) is None for grade in _OFFICIAL[n])}

  def _told(self, said: Mapping[str, Said], verdicts: Sequence[Verdict]) -> tuple[Said, ...]:
    """For pages: replies of models, or what programs and gates say."""
    told = [v for v in verdicts if v.judge not in said and v.status == 'scored']
    return (
      *said.values(),
      *(Said(v.judge, {s.name: s.value for s in v.scores}, v.justification, model=v.model) for v in told),
    )

  def save(self, folder: pathlib.Path, record: Record, answer: Answer) -> None:
    """Its pictures are kept with the answer."""

  def finish(self, folder: pathlib.Path, items: Iterable[Judged]) -> None:
    json_lines(folder / RESULTS, (dict(item.row) for item in items if item.row))

  def tables(self, items: Iterable[Judged]) -> list[Table]:
    columns = {name: Column(name) for name in (*_FIGURES, *_COUNTED)}
    called: list[tools.Calls | None] = []
    for item in items:
      called.append(item.row.get('tools') if item.row else None)
      for value in item.values:
        columns[value.name].add(table.ALL, value)
        columns[value.name].add(item.group, value)
    rows = [table.ALL, *sorted(row for row in columns['reward'].rows if row != table.ALL)]
    figures = tuple(column.mean(row) for row in rows for column in columns.values())
    notes = (
      'Reward with the exact image rule. An item whose judge or tool the environment lost is missing.',
      'tool_success: calls that succeeded, per answer; tool_accuracy: exactly the required tools did.',
    )
    return [
      Table('In-domain', figures, notes),
      Table('In-domain, tools', tuple(tools.figures(called, self.mode))),
    ]


async def _unused(request: ChatRequest) -> ChatReply:
  raise AssertionError('Questions are only worded here.')


def _marked(answer: Answer) -> str:
  return ''.join(
    part.text
    if isinstance(part, Prose)
    else part.call.raw
    if part.call
    else _MARK
    if not isinstance(part, Gap)
    else ''
    for part in answer.parts
  )


def _verdict(base: Settings, said: Said) -> Verdict:
  grades = {name: said.number(name) for name in base.scores}
  low, high = 1, 5
  if any(grade is None or not low <= grade <= high for grade in grades.values()):
    return Verdict(
      base.name, 'missing', reason=said.missing or 'garbage: a grade is missing or off its scale.'
    )
  scores = tuple(Score(name, grade) for name, grade in grades.items() if grade is not None)
  return Verdict(base.name, 'scored', scores, said.words, model=said.model, prompt_hash=said.prompt_hash)


def _value(term: Term) -> Value:
  return Value(term.name, term.value, 'missing' if term.value is None else 'scored', term.note)


def _counted(term: Term) -> Value:
  return Value(term.name, term.value, 'absent' if term.value is None else 'scored', term.note)


def _reader(names: Mapping[str, str], mode: Mode) -> Callable[[str], Grades]:
  """Reads the reference's lines such as `Text: 4`."""

  def read(text: str) -> Grades:
    found: dict[str, float | str] = {}
    for name, title in names.items():
      # `Image` must not be found in `Image Quality`; where a title ends another, the first place counts.
      match = re.search(rf'{re.escape(title)}:\s*(-?\d+)', text)
      if match:
        found[name] = float(match[1])
    if mode == 'fixed':
      for name in names:
        if name not in found:
          raise Unreadable('incomplete', f'it gives no {names[name]}.')
        whole_number(int(found[name]), name, 1, 5)
    return Grades(found, text)

  return read
