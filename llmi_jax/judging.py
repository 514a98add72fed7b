"""Builds the judges that a config names: programs, or models behind the chat protocol or in this process."""

import contextlib
import dataclasses
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from llmi_jax.core.answer import Answer
from llmi_jax.core.errors import ConfigError
from llmi_jax.core.task import Task
from llmi_jax.core.verdict import Verdict
from llmi_jax.judges import canaries, local, offline, own, panel
from llmi_jax.judges.canaries import Canaries
from llmi_jax.judges.gates import GATES
from llmi_jax.judges.judge import Judge as AnyJudge
from llmi_jax.judges.recorded import Address, Recorded
from llmi_jax.judges.remote import LLM, MLLM, RemoteJudge, Settings
from llmi_jax.rollout.episode import Judge, Place
from llmi_jax.services.cache import Cache
from llmi_jax.services.chat import ChatClient, ChatSettings
from llmi_jax.services.journal import Journal
from llmi_jax.services.limits import Limit
from llmi_jax.services.retry import Retry

Config = Any
HELD_OUT = dataclasses.replace(LLM, name='held_out')


async def _nothing(step: int) -> dict[str, float]:
  return {}


@dataclasses.dataclass(frozen=True)
class Bench:
  """The judges of a run.

  Attributes:
    judges: one per judge and vote.
    gauges: numbers about their calls since it was last asked.
    examine: how they stand on the panel and on the canaries, for the evaluation of a step.
    held_out: names of judges that never give reward.
  """

  judges: Sequence[Judge]
  gauges: Callable[[], dict[str, float]] = dict
  examine: Callable[[int], Awaitable[dict[str, float]]] = _nothing
  held_out: tuple[str, ...] = ()


class Local(NamedTuple):
  """A model in this process that judges.

  Attributes:
    generate: its replies.
    model: its name, which tells its weights from others.
    sees: whether it can be shown pictures.
  """

  generate: local.Generate
  model: str
  sees: bool


@dataclasses.dataclass(frozen=True)
class _Seat:
  """One model as judge with what belongs to it."""

  judge: RemoteJudge
  gauges: Callable[[], dict[str, float]]
  recorded: Recorded
  unplaced: Recorded
  votes: int


def programs() -> Bench:
  """The offline judges."""
  return Bench([_unseated(one) for one in (offline.OfflineText(), offline.OfflineVisual())])


@contextlib.asynccontextmanager
async def bench(
  config: Config,
  journal: Journal | None,
  cache: Cache | None,
  here: Local | None = None,
  processes: int = 1,
) -> AsyncIterator[Bench]:
  """The judges of `config.reward`; leaving closes their connections.

  Args:
    config: of the reward.
    journal: of the run.
    cache: of models' verdicts.
    here: who judges in this process what no address is given for, with `judges = 'local'`.
    processes: that share the limits of judges elsewhere.

  Raises:
    ConfigError: a value cannot work, or a judge cannot be reached.
  """
  if config.judges == 'offline':
    yield programs()
    return
  if config.judges.endswith('.py'):
    yield Bench([_unseated(one) for one in own.load(config.judges)])
    return
  if config.judges not in ('remote', 'local'):
    raise ConfigError(
      f'config.reward.judges is {config.judges!r}; known are offline, remote, local and paths of .py files.'
    )
  check(config, here)
  async with contextlib.AsyncExitStack() as stack:
    seats = []
    for base, one in (
      (LLM, config.remote.llm),
      (MLLM, config.remote.mllm),
      (HELD_OUT, config.remote.held_out),
    ):
      released = config.preset == 'released' and base is not HELD_OUT
      if one.urls:
        limit = Limit(one.concurrency, one.seconds, one.per_minute).share(processes)
        seats.append(await _distant(stack, settings(base, one, released), one, limit, journal, cache))
      elif here and _is_needed(config, base.name):
        seats.append(_near(here, settings(base, one, released), one, journal, cache))
    yield Bench(
      [_voter(seat, vote) for seat in seats for vote in range(seat.votes)],
      lambda: _gauges(seats),
      lambda step: _examine(seats, step),
      tuple(seat.judge.name for seat in seats if seat.judge.name == HELD_OUT.name),
    )


def check(config: Config, here: Local | None = None) -> None:
  """Refuses a reward that needs a judge whom nobody can be.

  Raises:
    ConfigError: naming the key.
  """
  for name in ('llm', 'mllm'):
    one = config.remote[name]
    if one.urls or not _is_needed(config, name):
      continue
    if here is None:
      raise ConfigError(
        f'config.reward.remote.{name}.urls is empty; give the base URL of a chat server, such as '
        f"('http://127.0.0.1:8000/v1',), or set config.reward.{name}=0 with preset=free."
      )
    if name == 'mllm' and not here.sees:
      raise ConfigError(
        'config.reward.local.path has no vision tower and cannot judge pictures; name a model that sees, '
        'give config.reward.remote.mllm.urls, or set config.reward.mllm=0 with preset=free.'
      )
    if one.form != 'lines':
      raise ConfigError(
        f'config.reward.remote.{name}.form is {one.form!r}, and a model in this process follows no schema; '
        'use lines.'
      )


def _is_needed(config: Config, name: str) -> bool:
  """Whether a judge's score enters the reward."""
  return name != HELD_OUT.name and bool(config.preset != 'free' or config[name])


def settings(base: Settings, config: Config, released: bool = False) -> Settings:
  """A judge's settings; the released reward knows neither gates nor the request's pictures.

  Raises:
    ConfigError: a value is unknown.
  """
  if config.form not in ('lines', 'json'):
    raise ConfigError(f'The form of a verdict is {config.form!r}; known are lines and json.')
  if unknown := [name for name in config.gates if name not in GATES]:
    raise ConfigError(f'There is no gate {unknown[0]!r}; known are {", ".join(GATES)}.')
  if config.votes < 1:
    raise ConfigError(f'A judge has {config.votes} votes; set it to 1 or more.')
  return dataclasses.replace(
    base,
    template=config.template,
    form=config.form,
    temperature=config.temperature,
    tokens=config.tokens,
    seeded=config.seeded,
    inputs=0 if released else config.inputs,
    pictures=config.pictures,
    characters=config.characters,
    gates=() if released else tuple(config.gates),
  )


async def _distant(
  stack: contextlib.AsyncExitStack,
  made: Settings,
  config: Config,
  limit: Limit,
  journal: Journal | None,
  cache: Cache | None,
) -> _Seat:
  chat = await stack.enter_async_context(
    ChatClient(
      ChatSettings(
        tuple(config.urls),
        config.model,
        key(config.key_env),
        limit,
        config.attempt_seconds,
        Retry(config.attempts, config.retry_wait, budget=config.retry_share),
        config.image_pixels,
        name=f'The judge {made.name}',
      )
    )
  )
  judge = RemoteJudge(made, chat.complete, chat.model, config.image_pixels)
  return _seat(judge, chat.gauges, config, journal, cache)


def _near(here: Local, made: Settings, config: Config, journal: Journal | None, cache: Cache | None) -> _Seat:
  # Without a seed all votes would be one.
  made = dataclasses.replace(made, seeded=True)
  complete = local.complete(here.generate, here.model, config.image_pixels)
  judge = RemoteJudge(made, complete, here.model, config.image_pixels)
  return _seat(judge, dict, config, journal, cache)


def _seat(
  judge: RemoteJudge,
  gauges: Callable[[], dict[str, float]],
  config: Config,
  journal: Journal | None,
  cache: Cache | None,
) -> _Seat:
  beside = Canaries(judge, config.canaries).beside
  recorded = Recorded(judge, cache=cache, journal=journal, beside=beside)
  return _Seat(judge, gauges, recorded, Recorded(judge, cache=cache), config.votes)


def key(variable: str) -> str:
  """The key in an environment variable; empty where none is named.

  Raises:
    ConfigError: it is not set.
  """
  if variable and variable not in os.environ:
    raise ConfigError(f'The environment variable {variable} is not set; set it to the key of the judge.')
  return os.environ[variable] if variable else ''


def _unseated(judge: AnyJudge) -> Judge:
  """One that is asked once per response and remembered by nobody."""

  async def ask(task: Task, answer: Answer, place: Place) -> Verdict:
    return await judge.judge(task, answer)

  return ask


def _voter(seat: _Seat, vote: int) -> Judge:
  async def ask(task: Task, answer: Answer, place: Place) -> Verdict:
    at = Address(place.step, f'{place.stream}/{task.id}', place.sample)
    return await seat.recorded.verdict(task, answer, at, vote=vote)

  return ask


def _gauges(seats: Sequence[_Seat]) -> dict[str, float]:
  found: dict[str, float] = {}
  for seat in seats:
    found |= {f'calls/{seat.judge.name}/{what}': value for what, value in seat.gauges().items()}
    found |= seat.judge.take()
  return found


async def _examine(seats: Sequence[_Seat], step: int) -> dict[str, float]:
  """The panel's ranking and the share of canaries that are liked, by judge; what was lost is left out.

  The step takes the place of the vote, so that every evaluation asks anew and a repeated run does not.
  """
  found: dict[str, float] = {}
  for seat in seats:
    name, ask = seat.judge.name, _unplaced(seat, step)
    stood = await panel.standing(ask)
    found |= {
      f'panel/{name}/{what}': value
      for what, value in (('ranked', stood.ranked), ('good', stood.good), ('bad', stood.bad))
      if value is not None
    }
    fitting = canaries.written() if seat.judge.settings.view == 'written' else canaries.drawn()
    liked = [canaries.accepted(await ask(canaries.TASK, one.answer)) for one in fitting]
    found[f'canaries/{name}/accepted'] = sum(liked) / len(liked)
  return found


def _unplaced(seat: _Seat, step: int) -> Callable[[Task, Answer], Awaitable[Verdict]]:
  return lambda task, answer: seat.unplaced.verdict(task, answer, None, vote=step)
