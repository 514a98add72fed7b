"""Builds those who work on a task from a config of test-time scaling: who selects, polishes and mends."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from llmi_jax import judging
from llmi_jax.core.answer import Answer
from llmi_jax.core.document import ToolCall
from llmi_jax.core.errors import ConfigError
from llmi_jax.core.image import Image
from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.core.task import Task
from llmi_jax.core.verdict import Verdict
from llmi_jax.data.rollout import from_answer
from llmi_jax.judges import offline
from llmi_jax.judges.pairwise import Comparison
from llmi_jax.judges.remote import LLM, MLLM, RemoteJudge
from llmi_jax.report import reward
from llmi_jax.rewards import parts
from llmi_jax.rewards.presets import PRESETS
from llmi_jax.services.chat import ChatClient, ChatSettings
from llmi_jax.services.completion import ChatRequest
from llmi_jax.services.journal import Journal
from llmi_jax.services.limits import Limit
from llmi_jax.services.retry import Retry
from llmi_jax.tools.dispatch import Dispatcher
from llmi_jax.tools.registry import Registry
from llmi_jax.tools.session import SessionKey
from llmi_jax.tts import pipeline, polish, repair
from llmi_jax.tts.crew import Crew, Generate, Run, metered
from llmi_jax.tts.kept import kept
from llmi_jax.tts.ledger import Complete, Ledger, Price
from llmi_jax.tts.listing import Lists
from llmi_jax.tts.pipeline import Result
from llmi_jax.tts.selectors import Ask, Pairs, Scores, Selector, Value
from llmi_jax.tts.settings import Enhance, Limits, Plan, Polish, Sift
from llmi_jax.wiring import Config

BY = ('scores', 'pairs', 'list')
PROGRAMS = 'programs'  # the offline judges as a selector, and as the judge of an evaluation


@dataclasses.dataclass(frozen=True)
class Materials:
  """What scaling works with.

  Attributes:
    generate: writes plain answers.
    registry: the tools.
    dispatcher: runs them.
    place: task, seed and sample → where a sample's calls stand in the journal.
    journal: of the run; None keeps nothing.
    speaker: the policy as one who answers chat requests; None where it cannot.
    flops: of the policy, per token; 0 where its size is not known.
  """

  generate: Generate
  registry: Registry
  dispatcher: Dispatcher
  place: Callable[[Task, int, int], SessionKey]
  journal: Journal | None = None
  speaker: Complete | None = None
  flops: float = 0.0


@dataclasses.dataclass(frozen=True)
class _Voice:
  """A chat model, or the policy as one."""

  complete: Complete
  model: str
  pixels: int
  policy: bool = False

  def digest(self, request: ChatRequest) -> str:
    return request.digest(self.model, self.pixels)


def plan(config: Config) -> Plan:
  """What a config wants.

  Raises:
    ConfigError: a value cannot work.
  """
  enhance, sift = config.enhance, config.filter
  return Plan(
    samples=config.sample.n,
    sift=Sift(tuple(sift.levels), sift.success, sift.retries) if sift.on else None,
    select=config.select.on,
    keep=config.select.k,
    enhance=Enhance(enhance.m, enhance.r, enhance.ways.to_dict()) if enhance.on else None,
    polish=Polish(config.polish.rounds) if config.polish.on else None,
    final=config.final,
    limits=_limits(config.budget),
    stages={name: _limits(one) for name, one in config.budget.stages.items()},
  )


def _limits(config: Config) -> Limits:
  names = ('seconds', 'calls', 'tokens', 'price')
  if unknown := [name for name in config if name not in (*names, 'stages')]:
    raise ConfigError(f'A budget of test-time scaling has no {unknown[0]!r}; known are {", ".join(names)}.')
  return Limits(**{name: config[name] for name in names if name in config})


@contextlib.asynccontextmanager
async def opened(
  config: Config,
  materials: Materials,
  told: Callable[[Task, int, Result], None] | None = None,
  stop: asyncio.Event | None = None,
  judge: str = '',
) -> AsyncIterator[Generate]:
  """A `generate` that scales; leaving closes connections.

  Args:
    config: of scaling.
    materials: what it works with.
    told: gets task, number of the answer, and what it came to.
    stop: set to end soon, with the best so far.
    judge: who reports figures about the answers; empty where nobody does.

  Raises:
    ConfigError: a value cannot work, a model cannot be reached, or who selects would also report.
  """
  wanted = plan(config)
  _check_selector(config)
  async with contextlib.AsyncExitStack() as stack:
    clients: dict[str, _Voice] = {}
    if config.selector.judges == 'remote':
      clients['selector'] = await _client(stack, config.selector.remote, 'The selector')
    elif config.selector.judges != 'offline':
      raise ConfigError(f'selector.judges is {config.selector.judges!r}; known are offline and remote.')
    check_judge(config, clients['selector'].model if clients else PROGRAMS, judge)
    roles = {'polisher': config.polish.by} if config.polish.on else {}
    if config.enhance.on and config.enhance.r and 'repair' in config.enhance.ways.values():
      roles['repairer'] = config.enhance.repairer
    for role, by in roles.items():
      if (voice := await _voice(stack, config, materials, clients, role, by)) is not None:
        clients[role] = voice
    opener = _Opener(config, materials, clients)
    yield pipeline.scaled(opener.open, wanted, told, stop)


async def _voice(
  stack: contextlib.AsyncExitStack,
  config: Config,
  materials: Materials,
  clients: Mapping[str, _Voice],
  role: str,
  by: str,
) -> _Voice | None:
  """Who polishes or mends."""
  if by == 'none':
    return None
  if by == 'policy':
    if materials.speaker is None:
      raise ConfigError(
        f'The {role} is to be the policy, which answers no chat requests here; set it to remote.'
      )
    return _Voice(materials.speaker, 'policy', 0, policy=True)
  if by != 'remote':
    raise ConfigError(f'The {role} is {by!r}; known are policy, remote and none.')
  # One connection serves both.
  other = next((voice for name, voice in clients.items() if name != 'selector' and not voice.policy), None)
  return other or await _client(stack, config.polish.remote, 'The polisher')


async def _client(stack: contextlib.AsyncExitStack, config: Config, name: str) -> _Voice:
  if not config.urls:
    raise ConfigError(
      f'{name} of test-time scaling has no address; give one, as in '
      '--tts=configs/tts_paper.py:http://127.0.0.1:8000/v1.'
    )
  settings = ChatSettings(
    tuple(config.urls),
    config.model,
    judging.key(config.key_env),
    Limit(config.concurrency, config.seconds, config.per_minute),
    config.attempt_seconds,
    Retry(config.attempts, config.retry_wait, budget=config.retry_share, burst=max(20, config.attempts)),
    config.image_pixels,
    name=name,
  )
  chat = await stack.enter_async_context(ChatClient(settings))
  return _Voice(chat.complete, chat.model, config.image_pixels)


class _Opener:
  """Opens the crew of one task."""

  def __init__(self, config: Config, materials: Materials, voices: Mapping[str, _Voice]):
    self._config, self._materials, self._voices = config, materials, voices
    self._prices = {role: Price(*map(float, values)) for role, values in config.prices.items()}

  def open(self, task: Task, seed: int) -> Crew:
    config, materials = self._config, self._materials
    flops = {'policy': materials.flops}
    flops |= {role: materials.flops for role, voice in self._voices.items() if voice.policy}
    ledger = Ledger(_limits(config.budget), self._stage_limits(), self._prices, flops)
    place = materials.place(task, seed, 0).task

    def asks(role: str) -> Complete:
      voice = self._voices[role]
      return ledger.metered(role, kept(voice.complete, materials.journal, place, voice.digest))

    polisher = repairer = None
    if 'polisher' in self._voices:
      chosen = config.polish
      # Another temperature of a policy in this process is another compiled program.
      warm = config.sample.temperature if self._voices['polisher'].policy else chosen.temperature
      polisher = polish.polisher(asks('polisher'), chosen.sees, warm, chosen.tokens)
    if 'repairer' in self._voices:
      warm = config.sample.temperature if self._voices['repairer'].policy else 0.0
      repairer = repair.repairer(asks('repairer'), warm)
    return Crew(
      materials.generate,
      self._selector(asks),
      self._run(task, seed, ledger),
      materials.registry.specs,
      frozenset(tool.spec.name for tool in materials.registry if tool.seeded or tool.cached),
      ledger,
      polisher,
      repairer,
    )

  def _stage_limits(self) -> dict[str, Limits]:
    return {name: _limits(one) for name, one in self._config.budget.stages.items()}

  def _selector(self, asks: Callable[[str], Complete]) -> Selector:
    config = self._config
    value = reward_value(config.selector.preset)
    if 'selector' not in self._voices:
      return Scores(PROGRAMS, programs(), value)
    voice, complete, remote = self._voices['selector'], asks('selector'), config.selector.remote
    name = f'{voice.model} ({config.select.by})'
    if config.select.by == 'scores':
      return Scores(name, _judges(complete, voice, remote), value)
    sampling = {'temperature': remote.temperature, 'tokens': remote.tokens}
    if config.select.by == 'list':
      return Lists(name, complete, **sampling)
    return Pairs(name, Comparison(complete, **sampling).compare, config.select.opponents)

  def _run(self, task: Task, seed: int, ledger: Ledger) -> Run:
    dispatcher, place = self._materials.dispatcher, self._materials.place

    async def run(
      call: ToolCall, images: Mapping[int, Image], sample: int, variant: int, candidates: int
    ) -> ToolOutcome:
      return await dispatcher.run(call, images, place(task, seed, sample), candidates, variant)

    return metered(run, ledger)


def _check_selector(config: Config) -> None:
  if config.selector.preset not in PRESETS:
    known = ', '.join(PRESETS)
    raise ConfigError(f'selector.preset is {config.selector.preset!r}; known are {known}.')
  if config.select.by not in BY:
    raise ConfigError(f'select.by is {config.select.by!r}; known are {", ".join(BY)}.')
  if config.selector.judges == 'offline' and config.select.by != 'scores':
    raise ConfigError(
      f'select.by is {config.select.by!r} and programs only give scores; set selector.judges=remote or '
      'select.by=scores.'
    )


def check_judge(config: Config, selector: str, judge: str) -> str:
  """Refuses to report by the judge that selects, unless the config insists; then what the table must say.

  Args:
    config: of scaling.
    selector: the selecting model's name; `programs` for the offline judges.
    judge: the reporting one's.

  Raises:
    ConfigError: they are one and nobody insists.
  """
  if selector != judge:
    return ''
  if not config.selector.insist:
    raise ConfigError(
      f'{judge} selects and would also report, which flatters the figures; name another judge, or insist '
      'with --tts_set=selector.insist=true.'
    )
  return f'The judge that reports, {judge}, is the one that selected.'


def programs() -> list[Ask]:
  """The offline judges as a selector asks them."""

  def ask(judge: offline.OfflineText | offline.OfflineVisual) -> Ask:
    async def judged(task: Task, answer: Answer) -> Verdict:
      return await judge.judge(task, answer)

    return judged

  return [ask(offline.OfflineText()), ask(offline.OfflineVisual())]


def _judges(complete: Complete, voice: _Voice, config: Config) -> Sequence[Ask]:
  """The two judges of the reward, played by the selecting model."""

  def ask(judge: RemoteJudge) -> Ask:
    async def judged(task: Task, answer: Answer) -> Verdict:
      return await judge.judge(task, answer)

    return judged

  changed = {'temperature': config.temperature, 'tokens': config.tokens}
  settings = [dataclasses.replace(base, **changed) for base in (LLM, MLLM)]
  return [ask(RemoteJudge(one, complete, voice.model, voice.pixels)) for one in settings]


def reward_value(preset: str) -> Value:
  """A judged answer's reward under a preset; None where a needed part is missing."""
  chosen = PRESETS[preset]

  def value(task: Task, answer: Answer) -> float | None:
    taken = parts.reward_parts(task, answer, chosen.form)
    scored = dataclasses.replace(answer, reward=taken)
    return reward.total(reward.shares(from_answer(scored, task, chosen.weights, chosen.gate).parts))

  return value
