"""OpenING's arena: a judge says which of two systems' answers to a record is better.

`repo` asks once and takes the first letter of what is said; `fixed` asks in both orders for a word under a
code, and what depends on the order is a tie without a lean. A record that one side has no answer to is lost
by it.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from llmi_jax.core.answer import Answer
from llmi_jax.core.errors import ConfigError
from llmi_jax.core.task import Message, TextPart
from llmi_jax.eval import framing
from llmi_jax.eval.calls import Call, Grades, Said
from llmi_jax.eval.forms import Words
from llmi_jax.eval.numbers import ratio
from llmi_jax.eval.official import OpenING as Official
from llmi_jax.eval.opening import battles, outputs, records, views
from llmi_jax.eval.opening.battles import Battle, System
from llmi_jax.eval.record import Answered, Fault, Judged, Mode, Record, Value
from llmi_jax.eval.streams import json_list
from llmi_jax.eval.table import Figure, Table
from llmi_jax.judges.verdict_form import Unreadable
from llmi_jax.services.completion import ChatRequest

_VERDICTS = {'better': ('A', 'B', 'Tie(A)', 'Tie(B)')}
RESULTS, PAIRS = 'judge_modelAB_results.json', 'data_instance_modelAB.json'
_TOKENS = 128  # the more generous of the two references
_CLOSING = 'Say which answer is better: A, B, Tie(A) or Tie(B). Write nothing else.'


class Meeting(NamedTuple):
  """What only the arena reads of its tasks: the record's own payload, and who meets."""

  record: records.Payload
  battle: Battle

  @property
  def steps(self):
    return self.record.steps


@dataclasses.dataclass(frozen=True)
class Arena:
  """The benchmark; see `record.Benchmark`.

  Attributes:
    path: of the records.
    folders: answers by system.
    mode: of the benchmark.
    pairs: a file of pairs to play instead of drawing them.
    rounds: of drawing.
    seed: of drawing.
    temperature: of the judge.
    official: the reference's own prompts; None for ours.
  """

  path: pathlib.Path
  folders: Mapping[System, outputs.Folder]
  mode: Mode = 'fixed'
  pairs: pathlib.Path | None = None
  rounds: int = 2
  seed: int = 0
  temperature: float = 0.0
  official: Official | None = None
  name: str = 'arena'
  apart: bool = False

  def records(self) -> Iterator[Record | Fault]:
    """One per battle, in the records' order; battles about unknown records are named."""
    playing: dict[str, list[Battle]] = {}
    for battle in self.battles():
      playing.setdefault(battle.uid, []).append(battle)
    for found in records.read(self.path, self.mode, False):
      if isinstance(found, Fault):
        yield found
        continue
      for battle in playing.pop(found.id, ()):
        task = dataclasses.replace(found.task, id=battle.id, payload=Meeting(found.task.payload, battle))
        yield dataclasses.replace(found, task=task)
    for uid in playing:
      yield Fault(str(self.pairs or self.path), f'{uid} is to be played and is no record.')

  def battles(self) -> list[Battle]:
    """Those that are played.

    Raises:
      ConfigError: the file of pairs is none, or names a system without answers.
    """
    if self.pairs is None:
      return battles.sample(self._subtasks(), tuple(self.folders), self.rounds, self.seed)
    known = {system.name: system for system in self.folders}
    try:
      rows = json.loads(self.pairs.read_text('utf-8'))
      found = [Battle(str(r['data_id']), System.of(r['model_A']), System.of(r['model_B'])) for r in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
      raise ConfigError(
        f'{self.pairs} is no list of pairs ({error}); see {PAIRS} of the reference.'
      ) from error
    for battle in found:
      for system in (battle.first, battle.second):
        if system.name not in known:
          raise ConfigError(f'{self.pairs} names {system.name!r}; give its answers, too.')
    return list({battle.key: battle for battle in found}.values())

  def _subtasks(self) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for record in records.read(self.path, 'repo', False):
      if isinstance(record, Record):
        found.setdefault(record.task.category[-1], []).append(record.id)
    return found

  async def answered(self, record: Record) -> Answered:
    """Both sides' answers."""
    battle = record.task.payload.battle
    asked = dataclasses.replace(record, task=dataclasses.replace(record.task, id=battle.uid))
    by_name = {system.name: folder for system, folder in self.folders.items()}
    found = [by_name[side.name].read(asked) for side in (battle.first, battle.second)]
    return Answered(tuple(one.answer for one in found), tuple(f for one in found for f in one.faults))

  def plan(self, record: Record, answered: Answered) -> tuple[Call, ...]:
    first, second = answered.answers
    if first is None or second is None:
      return ()
    if self.mode == 'fixed' and self.official is None:
      return self._ours(record, 'there', first, second), self._ours(record, 'back', second, first)
    there = self._laid(record, 'there', first, second)
    return (there,) if self.mode == 'repo' else (there, self._laid(record, 'back', second, first))

  def _ours(self, record: Record, name: str, first: Answer, second: Answer) -> Call:
    values = views.ours(record, answer=first, other=second)
    request, form, digest = framing.strict('opening_pair', values, _VERDICTS, self.temperature)
    return Call(name, request, form, digest, about=name)

  def _laid(self, record: Record, name: str, first: Answer, second: Answer) -> Call:
    laid = views.Laid()
    laid.request(record, '<INPUT>: ')
    laid.answer(first, '<OUTPUT_A>: ')
    laid.answer(second, '\n<OUTPUT_B>: ')
    if self.official is None:
      places = {'material': framing.user(laid.parts)}
      request, digest = framing.loose('opening_pair_word', places, _CLOSING, self.temperature)
      request = dataclasses.replace(request, max_tokens=_TOKENS)
    else:
      laid.text(self.official.pair_closing)
      system = Message('system', (TextPart(self.official.pair_system),))
      messages = system, Message('user', framing.user(laid.parts))
      request = ChatRequest(messages, self.temperature, _TOKENS)
      digest = framing.wording(self.official.pair_system, self.official.pair_closing)
    read = _lenient(record.id) if self.mode == 'repo' else _strict
    return Call(name, request, Words(read, '' if self.mode == 'repo' else _CLOSING), digest, about=name)

  async def score(self, record: Record, answered: Answered, said: Mapping[str, Said]) -> Judged:
    battle = record.task.payload.battle
    first, second = answered.answers
    if first is None or second is None:
      won = None if first is None and second is None else 'A' if second is None else 'B'
      note = 'Neither side has an answer.' if won is None else 'The other side has no answer.'
      kind = 'absent' if won is None else 'floored'
    else:
      won, note = self._won(said)
      tossed = any(one.number('tossed') for one in said.values())
      kind = 'missing' if won is None else 'floored' if tossed else 'scored'
    value = Value('battle', None if won is None else 1.0, kind, note)
    row: dict[str, Any] = battle.row | ({'winner': won} if won else {})
    played = first is not None or second is not None
    return Judged(record.id, record.group, (value,), tuple(said.values()), row, answered=played)

  def _won(self, said: Mapping[str, Said]) -> tuple[str | None, str]:
    lost = next((one.missing for one in said.values() if one.missing), '')
    if lost:
      return None, lost
    words = {name: str(one.values['better']) for name, one in said.items()}
    won = words['there'] if self.mode == 'repo' else battles.settled(words['there'], words['back'])
    return won, ', '.join(f'{name}: {word}' for name, word in words.items())

  def save(self, folder: pathlib.Path, record: Record, answer: Answer) -> None:
    raise ConfigError('The arena compares answers that exist already; give a folder for each system.')

  def finish(self, folder: pathlib.Path, items: Iterable[Judged]) -> None:
    rows = [dict(item.row) for item in items]
    json_list(folder / PAIRS, ({k: v for k, v in row.items() if k != 'winner'} for row in rows))
    json_list(folder / RESULTS, (row for row in rows if 'winner' in row))

  def tables(self, items: Iterable[Judged]) -> list[Table]:
    played = list(items)  # small rows, no texts
    results = battles.distinct([item.row for item in played if 'winner' in item.row])
    counts = _counts(played)
    found = battles.points(results, self.mode)
    figures = [
      Figure(name, rate, estimate.value and 100 * estimate.value, estimate.n, *counts[name], low, high, 2)
      for name, mine in found.items()
      for rate in battles.RATES
      for estimate in [ratio([mine.points[rate]], [mine.counted[rate]])]
      for low, high in [_percent(estimate.low, estimate.high)]
    ]
    order = {f.row: -(f.value or 0.0) for f in figures if f.column == 'FDT'}
    figures.sort(key=lambda f: (order[f.row], f.row))
    notes = (
      'Win rates in per cent. FDT: a tie that leans counts as a win for the side it leans to.',
      'Missing: battles whose judge failed. Floor-filled: a side had no answer, or a coin was tossed (repo).',
      'A new system is only ranked against those whose answers were given.',
    )
    return [Table('OpenING, arena', tuple(figures), notes), *self._matrix(results)]

  def _matrix(self, results: Sequence[Mapping[str, Any]]) -> list[Table]:
    found = battles.matrix(results, 'FDT', self.mode)
    met: dict[tuple[str, str], int] = {}
    for row in results:
      a, b = row['model_A']['name'], row['model_B']['name']
      met[a, b] = met.get((a, b), 0) + 1
    figures = [
      Figure(a, b, share and 100 * share, met.get((a, b), 0) + met.get((b, a), 0), digits=2)
      for a, row in found.items()
      for b, share in row.items()
      if a != b
    ]
    return [Table('OpenING, arena, row against column (FDT)', tuple(figures))] if figures else []


def _percent(low: float | None, high: float | None) -> tuple[float | None, float | None]:
  return (None, None) if low is None or high is None else (100 * low, 100 * high)


def _counts(played: Sequence[Judged]) -> dict[str, tuple[int, int]]:
  """System → battles that are missing, and that were decided without a judge."""
  found: dict[str, list[int]] = {}
  for item in played:
    for side in ('model_A', 'model_B'):
      mine = found.setdefault(item.row[side]['name'], [0, 0])
      mine[0] += item['battle'].kind == 'missing'
      mine[1] += item['battle'].kind == 'floored'
  return {name: (missing, floored) for name, (missing, floored) in found.items()}


def _lenient(id: str):
  """The reference's reading; its coin is tossed by the battle's id, so that a repetition gives the same."""
  coin = 'AB'[hashlib.sha256(id.encode()).digest()[0] & 1]

  def read(text: str) -> Grades:
    if not text:
      raise Unreadable('no_verdict', 'it is empty.')
    tossed = text[0] not in 'AB' and text[:3].lower() != 'tie' and not set(text) & set('AB')
    return Grades({'better': battles.winner(text, coin), 'tossed': float(tossed)}, text)

  return read


def _strict(text: str) -> Grades:
  word = text.strip().rstrip('.').replace(' is better', '').replace('Tie (', 'Tie(')
  if word not in _VERDICTS['better']:
    raise Unreadable('no_verdict', f'{text[:60]!r} is none of A, B, Tie(A) and Tie(B).')
  return Grades({'better': word}, text)
