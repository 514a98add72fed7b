"""Which benchmark, in which mode, with whose prompts and whose answers: from flags to parts."""

import asyncio
import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, cast

from absl import flags

from llmi_jax.core.errors import ConfigError
from llmi_jax.eval import official
from llmi_jax.eval.foreign import Rows
from llmi_jax.eval.harness import Answers
from llmi_jax.eval.in_domain import InDomain
from llmi_jax.eval.isg import records as isg_records
from llmi_jax.eval.isg.bench import Isg
from llmi_jax.eval.llmi_bench.bench import LlmiBench
from llmi_jax.eval.opening.arena import Arena
from llmi_jax.eval.opening.battles import System
from llmi_jax.eval.opening.outputs import Folder
from llmi_jax.eval.opening.score import Score
from llmi_jax.eval.record import Answered, Benchmark, Fault, Mode, Record
from llmi_jax.judges.offline import OfflineText, OfflineVisual

NAMES = ('opening', 'arena', 'isg', 'llmi_bench', 'in_domain')
EXAMPLES = pathlib.Path(__file__).parent / 'eval' / 'examples'
OFFLINE = 'offline'

BENCHMARK = flags.DEFINE_enum('benchmark', 'in_domain', NAMES, 'What is evaluated.')
RECORDS = flags.DEFINE_string('records', 'examples', 'The benchmark’s file or folder, or examples.')
MODE = flags.DEFINE_enum('mode', 'fixed', ['fixed', 'repo'], 'repo: as the reference’s code does it.')
ANSWERS = flags.DEFINE_multi_string(
  'answers', [], 'Answers of another program: a folder (opening) or a file; NAME=FOLDER, repeated, for arena.'
)
JUDGE = flags.DEFINE_multi_string(
  'judge', [], 'Base URL of the judge, may be repeated; or offline (in_domain).'
)
JUDGE_TEMPERATURE = flags.DEFINE_float('judge_temperature', None, 'Default: as the benchmark has it.')
PIXELS = flags.DEFINE_integer('judge_pixels', 0, 'Larger pictures are scaled down to it; 0: a default.')
SCHEMA = flags.DEFINE_bool('judge_schema', False, 'Send a JSON schema where the reference calls a function.')
OFFICIAL = flags.DEFINE_string(
  'official_prompts', None, 'A checkout of the reference, whose prompts are used.'
)
HINT = flags.DEFINE_enum('hint', 'unknown', ['on', 'off', 'unknown'], 'OpenING: is the step count told?')
PAIRS = flags.DEFINE_string('pairs', None, 'Arena: a file of pairs instead of drawn ones.')
ROUNDS = flags.DEFINE_integer('rounds', 2, 'Arena: rounds of drawing.')
SPLIT = flags.DEFINE_string('split', 'test', 'In-domain: which rows; empty for all.')
SEES = flags.DEFINE_bool('sees', False, 'In-domain: weights of the text judge for policies that see.')

# Pixels of a picture that judges are sent, where the flag does not say.
_PIXELS = {
  'opening': 784_000,
  'arena': 784_000,
  'isg': 512 * 512,
  'llmi_bench': 784_000,
  'in_domain': 784_000,
}
_TEMPERATURES = {'opening': 0.0, 'arena': 0.0, 'isg': 0.0, 'llmi_bench': 0.0, 'in_domain': 0.5}


@dataclasses.dataclass(frozen=True)
class Choice:
  """A benchmark that is about to be made.

  Attributes:
    make: the benchmark, once the judging model's name is known.
    settings: what it depends on, for the work folder to remember.
    pixels: bound of pictures.
    foreign: finds answers that are there; None where they are made.
    faults: of the folders of answers.
    unknown: answers to no record, once the records are known.
    offline: whether programs judge.
  """

  make: Callable[[str], Benchmark]
  settings: dict[str, Any]
  pixels: int
  foreign: Answers | None
  faults: list[Fault]
  unknown: Callable[[set[str]], list[Fault]]
  offline: bool

  def facts(self, model: str) -> list[tuple[str, str]]:
    """What every table says it was made with."""
    told = self.settings
    squashed = told['benchmark'] in ('opening', 'arena') and (
      told['mode'] == 'repo' or told['prompts'] != 'ours'
    )
    sent = '512×512, shape not kept' if squashed else f'at most {self.pixels:,} pixels'
    return [
      ('benchmark', told['benchmark']),
      ('mode', told['mode']),
      ('records from', told['records']),
      ('answers from', ', '.join(told['answers']) or told['system']),
      ('judge', model),
      ('temperature of the judge', f'{told["judge_temperature"]:g}'),
      ('prompts of the judge', told['prompts']),
      ('pictures as sent', 'none are' if self.offline else sent),
      ('step hint', told['hint']),
    ]


def choose(system: str) -> Choice:
  """Reads the flags.

  Args:
    system: name of what answers; empty for foreign answers.

  Raises:
    ConfigError: they do not go together.
    DataError: answers cannot be read.
  """
  name = BENCHMARK.value
  temperature = JUDGE_TEMPERATURE.value
  if temperature is None:
    temperature = 1.0 if MODE.value == 'repo' and name in ('opening', 'arena') else _TEMPERATURES[name]
  offline = JUDGE.value == [OFFLINE]
  if offline and name != 'in_domain':
    raise ConfigError(
      f'--judge=offline judges in_domain only; give the base URL of a chat server for {name}.'
    )
  hint = 'n/a' if name != 'opening' else HINT.value if not system else 'on' if HINT.value == 'on' else 'off'
  prompts = f'official, {OFFICIAL.value}' if OFFICIAL.value else 'none' if offline else 'ours'
  settings = {
    **{'benchmark': name, 'mode': MODE.value, 'records': RECORDS.value, 'answers': ANSWERS.value},
    **{'system': system, 'judge_temperature': temperature, 'prompts': prompts, 'hint': hint},
    **{'image_pixels': PIXELS.value or _PIXELS[name], 'offline': offline},
    **({'pairs': PAIRS.value, 'rounds': ROUNDS.value} if name == 'arena' else {}),
    **({'split': SPLIT.value, 'sees': SEES.value} if name == 'in_domain' else {}),
  }
  maker = _Maker(name, system, temperature, offline, hint == 'on')
  return Choice(
    maker.make,
    settings,
    PIXELS.value or _PIXELS[name],
    maker.foreign,
    maker.faults,
    maker.unknown,
    offline,
  )


class _Maker:
  """Makes one benchmark and what reads its foreign answers."""

  def __init__(self, name: str, system: str, temperature: float, offline: bool, hint: bool):
    self._name, self._system, self._temperature = name, system, temperature
    self._offline, self._hint = offline, hint
    self._mode: Mode = cast(Mode, MODE.value)
    self._battles: Arena | None = None
    self._folders: dict[System, Folder] = {}
    self._rows: Rows | None = None
    self.faults: list[Fault] = []
    self.foreign: Answers | None = None
    if name == 'arena':
      self._arena()
    elif ANSWERS.value:
      self._one()

  def _arena(self) -> None:
    if len(ANSWERS.value) < 2:
      raise ConfigError('The arena needs answers of at least two systems: --answers=NAME=FOLDER, repeated.')
    for number, text in enumerate(ANSWERS.value):
      label, _, path = text.rpartition('=')
      folder = Folder(path, self._mode)
      self._folders[System(str(number), label or folder.name)] = folder
    if len({system.name for system in self._folders}) < len(self._folders):
      raise ConfigError('Two systems of the arena have one name; name them by --answers=NAME=FOLDER.')
    if (ROUNDS.value or 1) > 1 and len(self._folders) < 4 and not PAIRS.value:
      raise ConfigError(f'--rounds={ROUNDS.value} needs four systems at least; set --rounds=1 or give more.')
    self.faults = [fault for folder in self._folders.values() for fault in folder.faults]
    words = official.opening(OFFICIAL.value) if OFFICIAL.value else None
    self._battles = Arena(
      _records(self._name),
      self._folders,
      self._mode,
      pathlib.Path(PAIRS.value) if PAIRS.value else None,
      ROUNDS.value or 1,
      int(flags.FLAGS['seed'].value or 0),
      self._temperature,
      words,
    )
    self.foreign = self._battles.answered

  def _one(self) -> None:
    if len(ANSWERS.value) > 1:
      raise ConfigError(f'{self._name} judges one system; give --answers once, or use --benchmark=arena.')
    path = ANSWERS.value[0]
    if self._name == 'opening':
      folder = Folder(path, self._mode)
      self._folders[System('0', folder.name)] = folder
      self.faults, self.foreign = folder.faults, _reading(folder.read)
    else:
      records = _records(self._name)
      self._rows = Rows(path, self._mode, records if records.is_dir() else records.parent)
      self.faults, self.foreign = self._rows.faults, _reading(self._rows.read)

  def unknown(self, ids: set[str]) -> list[Fault]:
    """Answers to no record."""
    if self._name == 'arena':  # a battle is not drawn about every record
      return []
    if self._name == 'isg' and self._mode == 'repo':  # its last record is known, and left out
      ids = ids | isg_records.ids(_records('isg'))
    found = [fault for folder in self._folders.values() for fault in folder.unknown(ids)]
    return found + (self._rows.unknown(ids) if self._rows else [])

  def make(self, model: str) -> Benchmark:
    """The benchmark, judged by a model of this name."""
    path, prompts = _records(self._name), OFFICIAL.value
    if self._name == 'opening':
      system = next((s.name for s in self._folders), self._system)
      words = official.opening(prompts) if prompts else None
      return Score(path, self._mode, system, self._hint, self._temperature, words, SCHEMA.value)
    if self._battles:
      return self._battles
    if self._name == 'isg':
      return Isg(path, self._mode, self._temperature, official.isg(prompts) if prompts else None)
    if self._name == 'llmi_bench':
      words = official.llmi_bench(prompts) if prompts else None
      return LlmiBench(path, self._mode, self._temperature, words)
    return self._in_domain(path, model)

  def _in_domain(self, path: pathlib.Path, model: str) -> InDomain:
    weights = (1.5, 0.5) if SEES.value else (1.4, 0.6)
    return InDomain(
      path,
      SPLIT.value or None,
      self._mode,
      model,
      self._temperature,
      official.in_domain(OFFICIAL.value) if OFFICIAL.value else None,
      (OfflineText(), OfflineVisual()) if self._offline else (),
      *weights,
    )


def _reading(read: Callable[[Record], Answered]) -> Answers:
  async def answer(record: Record) -> Answered:
    return await asyncio.to_thread(read, record)

  return answer


def _records(name: str) -> pathlib.Path:
  if RECORDS.value != 'examples':
    return pathlib.Path(RECORDS.value)
  files = {'isg': 'isg', 'llmi_bench': 'llmi_bench/records.json', 'in_domain': 'in_domain/test.parquet'}
  return EXAMPLES / files.get(name, 'opening')
