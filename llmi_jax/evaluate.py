"""Judges answers to a benchmark's records and prints its tables with their uncertainty.

    python -m llmi_jax.evaluate --benchmark=opening --records=OpenING-benchmark --answers=X_output \\
        --judge=http://127.0.0.1:8000/v1 --workdir=eval/x

Answers come from `--answers` (a folder or file of another program's), `--policy` (a work folder, a Hugging
Face folder with `--config`, or `builtin:NAME` likewise), or `--remote` (a model behind the chat protocol,
with the tools of `--config`). `--records=examples` takes those that come with the package. The same command
goes on with what was begun; `--again` asks anew for what the environment failed. `--compare=A --compare=B`
sets two finished work folders side by side.

Exit: 0; 2 after an error; 3 where a file was faulty or something could not be judged, although the rest was;
130 if stopped.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import pathlib
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from absl import flags
from ml_collections import ConfigDict

from llmi_jax import answering, benches, compilation, crews, front, scaling, speaking, wiring
from llmi_jax.answering import Generate, Offer, Workshop, Writing
from llmi_jax.core.errors import ConfigError, DataError
from llmi_jax.core.task import Task
from llmi_jax.eval import compare, estimate, harness, streams, table
from llmi_jax.eval.calls import Caller, Said
from llmi_jax.eval.harness import Answers, Plan
from llmi_jax.eval.record import Answered, Benchmark, Fault, Record
from llmi_jax.eval.store import Store
from llmi_jax.rollout.device import Device
from llmi_jax.services import home
from llmi_jax.services.cache import Cache
from llmi_jax.services.chat import ChatClient, ChatSettings
from llmi_jax.services.completion import ChatReply, ChatRequest
from llmi_jax.services.faults import ServiceFault
from llmi_jax.services.journal import Journal
from llmi_jax.services.limits import Limit
from llmi_jax.tts import page as tts_page
from llmi_jax.tts import record
from llmi_jax.tts.pipeline import Result

POLICY = flags.DEFINE_string('policy', None, 'Work folder, Hugging Face folder or builtin:NAME that answers.')
UNTRAINED = flags.DEFINE_bool('untrained', False, 'The policy as it was before training.')
REMOTE = flags.DEFINE_multi_string('remote', [], 'Base URL of a model that answers; may be repeated.')
REMOTE_MODEL = flags.DEFINE_string('remote_model', '', 'Its name; empty asks the server.')
REMOTE_KEY = flags.DEFINE_string('remote_key_env', '', 'Environment variable that holds its key.')
BLIND = flags.DEFINE_bool('blind', False, 'The remote model is sent no pictures.')
TOOLS = flags.DEFINE_enum('tools', 'offered', ['offered', 'absent', 'refused'], 'What becomes of tools.')
TEMPERATURE = flags.DEFINE_float(
  'temperature', 1.0, 'Of answers; 0 is greedy, as the released validation is.'
)
SEED = flags.DEFINE_integer('seed', 0, 'Of answers, and of drawing pairs.')
PROMPT = flags.DEFINE_integer('prompt_tokens', 0, 'Longest prompt of a policy; 0: as its config says.')
RESPONSE = flags.DEFINE_integer('response_tokens', 0, 'Longest answer; 0: as the config says.')
ROWS = flags.DEFINE_integer('rows', 8, 'Answers that a policy decodes together.')
JUDGE_MODEL = flags.DEFINE_string('judge_model', '', 'The judging model; empty asks the server.')
JUDGE_KEY = flags.DEFINE_string('judge_key_env', '', 'Environment variable that holds the key of the judge.')
CALLS = flags.DEFINE_integer('judge_calls', 16, 'Calls of the judge at once.')
SECONDS = flags.DEFINE_float('judge_seconds', 300.0, 'Per call of the judge with its retries.')
CACHE = flags.DEFINE_string('cache', None, 'Folder of judges’ replies that runs share.')
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the evaluation; default eval/BENCHMARK.')
AT_ONCE = flags.DEFINE_integer('at_once', 16, 'Items under way together.')
LIMIT = flags.DEFINE_integer('limit', 0, 'Records that are looked at; 0 for all.')
AGAIN = flags.DEFINE_bool('again', False, 'Ask anew for what the environment failed.')
DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Print calls, tokens and cost, and call nobody.')
PRICE_PROMPT = flags.DEFINE_float('price_prompt', 0.0, 'Of a million tokens that the judge reads.')
PRICE_REPLY = flags.DEFINE_float('price_reply', 0.0, 'Of a million tokens that the judge writes.')
COMPARE = flags.DEFINE_multi_string('compare', [], 'A finished work folder; give two.')

WRONG = 3
FAULTS = 'faults.txt'
_TOLD = 20  # faults that are printed
_CACHE_BYTES = 1 << 30


def main(config: ConfigDict) -> None:
  """Compares, estimates, or evaluates."""
  if COMPARE.value:
    if len(COMPARE.value) != 2:
      raise ConfigError(f'--compare was given {len(COMPARE.value)} times; give two work folders.')
    differences, warnings = compare.compare(*COMPARE.value)
    print(compare.markdown(differences, warnings), end='')
    return
  chosen = benches.choose(_system())
  if DRY_RUN.value:
    asyncio.run(_estimate(chosen))
    return
  compilation.keep(home.cache('xla'))
  if asyncio.run(evaluate(chosen, config)):
    sys.exit(WRONG)


def _system() -> str:
  """The name of what answers."""
  sources = [bool(benches.ANSWERS.value), bool(POLICY.value), bool(REMOTE.value)]
  if sum(sources) != 1:
    raise ConfigError('Give exactly one of --answers, --policy and --remote: who answers?')
  if POLICY.value:
    return pathlib.Path(POLICY.value.removeprefix('builtin:')).name + (
      '-untrained' if UNTRAINED.value else ''
    )
  return REMOTE_MODEL.value or 'remote' if REMOTE.value else ''


async def evaluate(chosen: benches.Choice, config: wiring.Config) -> bool:
  """Runs, writes and prints; returns whether something was wrong."""
  workdir = pathlib.Path(WORKDIR.value or pathlib.Path('eval') / benches.BENCHMARK.value)
  stop = asyncio.Event()
  for number in (signal.SIGINT, signal.SIGTERM):
    asyncio.get_running_loop().add_signal_handler(number, stop.set)
  store = Store(workdir)
  try:
    async with _judge(chosen) as (complete, model):
      benchmark = chosen.make(model)
      _claim(store, {**chosen.settings, 'judge': model, **_settings(chosen)})
      if AGAIN.value:
        print(f'{store.forget_failures()} items are judged anew.', file=sys.stderr)
      cache = Cache(CACHE.value, _CACHE_BYTES) if CACHE.value else None
      caller = Caller(complete, model, chosen.pixels, store, cache)
      async with _answers(chosen, benchmark, config, store, model) as answers:
        outcome = await harness.run(benchmark, answers, caller, store, Plan(AT_ONCE.value, LIMIT.value), stop)
    if not LIMIT.value:
      outcome.faults += chosen.unknown(outcome.ids)
    outcome.faults += chosen.faults
    facts = [*chosen.facts(model), *_facts(chosen)]
    found = harness.tables(benchmark, store, outcome, facts)
    page = harness.write(workdir, benchmark, store, found, f'{benchmark.name}, {benchmark.mode}')
    streams.text(workdir / FAULTS, (f'{fault}\n' for fault in outcome.faults))
    print(table.markdown(found))
    _tell(outcome.faults, workdir)
    print(f'Pages: {page}')
    return bool(outcome.faults) or any(
      item.lost or any(value.kind == 'missing' for value in item.values) for item in store.items()
    )
  finally:
    store.close()


def _tell(faults: list[Fault], workdir: pathlib.Path) -> None:
  for fault in faults[:_TOLD]:
    print(f'Fault: {fault}', file=sys.stderr)
  if len(faults) > _TOLD:
    print(f'… and {len(faults) - _TOLD} more, all in {workdir / FAULTS}.', file=sys.stderr)


def _settings(chosen: benches.Choice) -> dict[str, Any]:
  """What answers depend on."""
  if chosen.foreign:
    return {}
  names = ('policy', 'untrained', 'remote_model', 'blind', 'tools', 'temperature', 'seed')
  scaled = scaling.read()
  found = {name: flags.FLAGS[name].value for name in names}
  return found | ({'tts': json.loads(scaled.to_json())} if scaled is not None else {})


def _facts(chosen: benches.Choice) -> list[tuple[str, str]]:
  if chosen.foreign:
    return []
  scaled = scaling.read()
  temperature = TEMPERATURE.value if scaled is None else scaled.sample.temperature
  found = [('temperature of answers', f'{temperature:g}'), ('tools', TOOLS.value), ('seed', f'{SEED.value}')]
  return found if scaled is None else [*found, *scaling.facts(scaled)]


def _claim(store: Store, settings: dict[str, Any]) -> None:
  """Makes the work folder this evaluation's.

  Raises:
    ConfigError: it is another's.
  """
  kept = store.settings()
  for name, value in settings.items():
    if kept and kept.get(name) != value:
      raise ConfigError(
        f'{store.folder} holds an evaluation with {name} {kept.get(name)!r}, and this one has {value!r}; '
        'choose another --workdir.'
      )
  if not kept:
    store.keep_settings(settings)


async def _estimate(chosen: benches.Choice) -> None:
  benchmark = chosen.make(JUDGE_MODEL.value or 'judge')
  answers = chosen.foreign
  found = await estimate.estimate(benchmark, answers, chosen.pixels, LIMIT.value)
  print(f'{found.records} records, {found.answers} answers to be made first.')
  print(f'{found.calls} calls of the judge at most, as far as answers are known.')
  print(f'About {found.prompt:,} tokens to read and {found.reply:,} to write.')
  if PRICE_PROMPT.value or PRICE_REPLY.value:
    print(f'About {found.price(PRICE_PROMPT.value, PRICE_REPLY.value):.2f} at these prices.')
  else:
    print('No price was given: --price_prompt and --price_reply, per million tokens.')


@contextlib.asynccontextmanager
async def _judge(chosen: benches.Choice):
  """The judging model's `complete` and name."""
  if chosen.offline:
    yield _nobody, 'programs'
    return
  limit = Limit(CALLS.value, SECONDS.value)
  settings = ChatSettings(
    tuple(benches.JUDGE.value),
    JUDGE_MODEL.value,
    _key(JUDGE_KEY.value),
    limit,
    attempt_seconds=SECONDS.value / 2,
    image_pixels=chosen.pixels,
    name='The judge',
  )
  async with ChatClient(settings) as chat:
    yield chat.complete, chat.model


async def _nobody(request: ChatRequest) -> ChatReply:
  raise ServiceFault('refused', 'There is no judging model in this evaluation.')


def _key(variable: str) -> str:
  if variable and variable not in os.environ:
    raise ConfigError(f'The environment variable {variable} is not set; set it to your key.')
  return os.environ[variable] if variable else ''


@contextlib.asynccontextmanager
async def _answers(
  chosen: benches.Choice, benchmark: Benchmark, config: wiring.Config, store: Store, judge: str
) -> AsyncIterator[Answers]:
  """What finds or makes the answer to a record."""
  if chosen.foreign:
    yield chosen.foreign
    return
  async with _generating(config, store, judge) as generate:
    yield _kept(benchmark, generate, store)


def _kept(benchmark: Benchmark, generate: Generate, store: Store) -> Answers:
  """Generates once; an answer is kept before it is judged."""

  async def answer(record: Record) -> Answered:
    kept = await asyncio.to_thread(store.answer, record.id)
    if kept is None:
      try:
        kept = (await generate(record.task, 1, SEED.value))[0]
      except DataError as error:
        return Answered((None,), (Fault(record.where, str(error)),), lost=str(error))
      except ServiceFault as fault:
        return Answered((None,), lost=f'{fault.cause}: {fault}')
      await asyncio.to_thread(store.keep_answer, record.id, kept)
    lost = next((o.error for o in kept.outcomes if o.fault == 'environment'), '')
    if lost and benchmark.mode == 'fixed' and benchmark.name != 'in_domain':
      return Answered((kept,), lost=f'A tool call was lost: {lost}')
    await asyncio.to_thread(benchmark.save, store.folder, record, kept)
    return Answered((kept,))

  return answer


@contextlib.asynccontextmanager
async def _generating(config: wiring.Config, store: Store, judge: str) -> AsyncIterator[Generate]:
  """A policy or a remote model with tools."""
  config, policy = _loaded(config)
  scaled = scaling.read()
  if scaled is not None and TOOLS.value != 'offered':
    raise ConfigError(
      f'--tts scales answers whose tools are run, and --tools={TOOLS.value} runs none; leave one out.'
    )
  writing = Writing(
    TEMPERATURE.value if scaled is None else scaled.sample.temperature,
    RESPONSE.value or config.sampler.tokens,
    cast(Offer, TOOLS.value),
    _system(),
    'eval' if scaled is None else 'tts',
  )
  device, journal = Device(), Journal(store.folder)
  try:
    cache = Cache(store.folder / 'cache', _CACHE_BYTES)
    if scaled is not None and policy is not None:
      parts = scaling.policy(
        scaled,
        config,
        policy,
        device,
        seed=SEED.value,
        journal=journal,
        cache=cache,
        origin=_system(),
        told=_recorder(store),
        judge=judge,
      )
      async with parts as generate:
        yield generate
      return
    async with answering.workshop(config, device, writing, journal, cache, SEED.value) as shop:
      if policy is not None:
        longest = PROMPT.value or config.prompt.tokens
        async with answering.policy(policy, device, shop, longest, ROWS.value) as generate:
          yield generate
      else:
        async with _remote(shop, store) as generate:
          if scaled is None:
            yield generate
            return
          materials = crews.Materials(generate, shop.registry, shop.dispatcher, shop.place, journal)
          async with crews.opened(scaled, materials, _recorder(store), judge=judge) as better:
            yield better
  finally:
    device.close()
    journal.close()


def _recorder(store: Store) -> Callable[[Task, int, Result], None]:
  """Keeps how each scaled answer came about, in a folder of its own."""

  def told(task: Task, number: int, result: Result) -> None:
    name = hashlib.sha256(task.id.encode('utf-8', 'replace')).hexdigest()[:16]
    folder = store.folder / 'scaling' / name
    record.write(folder, [(task, number, result)], store.folder)
    tts_page.write(folder, task, result)

  return told


def _loaded(config: wiring.Config) -> tuple[wiring.Config, wiring.Policy | None]:
  """The config of tools and prompts, and the policy where one answers."""
  path = POLICY.value
  if (
    path and (pathlib.Path(path) / 'config.json').is_file() and (pathlib.Path(path) / 'checkpoints').is_dir()
  ):
    stored, trained = wiring.trained(path)
    if not UNTRAINED.value:
      return stored, trained
    return stored, wiring.load_policy(wiring.policy_source(stored, pathlib.Path(path)))
  if not config:
    raise ConfigError('Tools and prompts are not known; add --config=configs/grpo_tiny.py or another config.')
  return config, speaking.load(path) if path else None


@contextlib.asynccontextmanager
async def _remote(shop: Workshop, store: Store) -> AsyncIterator[Generate]:
  settings = ChatSettings(
    tuple(REMOTE.value),
    REMOTE_MODEL.value,
    _key(REMOTE_KEY.value),
    Limit(AT_ONCE.value, 600.0),
    attempt_seconds=300.0,
    name='The model that answers',
  )

  async def reply(key, ask) -> ChatReply:
    kept = await asyncio.to_thread(store.reply, key)
    if kept is None:
      said = await ask()
      tokens = said.prompt_tokens, said.completion_tokens
      kept = Said('answer', model=said.model, seconds=said.seconds, tokens=tokens, raw=said.text)
      await asyncio.to_thread(store.keep_reply, key, kept)
    prompt, completion = kept.tokens
    return ChatReply(kept.raw, kept.model, 'stop', prompt, completion, seconds=kept.seconds)

  async with ChatClient(settings) as chat:
    yield answering.remote(chat, shop, reply, not BLIND.value)


if __name__ == '__main__':
  front.run(main, config_required=False)
