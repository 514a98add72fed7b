"""Answers of one policy under several plans, each row kept as it comes; tables of them."""

import asyncio
import json
import pathlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from llmi_jax import answering, crews, front, scaling, speaking, wiring
from llmi_jax.answering import Writing
from llmi_jax.core.answer import Answer
from llmi_jax.core.task import Task
from llmi_jax.eval.numbers import Difference, paired
from llmi_jax.rewards import rules
from llmi_jax.rollout.device import Device
from llmi_jax.speaking import Limits
from llmi_jax.tts.selectors import Scores

Row = Mapping[str, Any]

PLAIN = 'plain'
AT_ONCE = 8  # tasks side by side; seconds are those of an answer among them
WARM = 1 << 20  # a seed that counts for nothing


class Arm(NamedTuple):
  """A name and the changes to configs/tts_small.py; None for a plain answer."""

  name: str
  changes: tuple[str, ...] | None


def stairs(n: int = 4, k: int = 1, m: int = 2) -> list[Arm]:
  """Stage by stage."""
  n_, k_, m_ = f'sample.n={n}', f'select.k={k}', f'enhance.m={m}'
  off = 'enhance.on=false'
  return [
    Arm(PLAIN, None),
    Arm(f'best of {n}', (n_, k_, off)),
    Arm(f'best of {n}, enhanced', (n_, k_, m_)),
    Arm(f'best of {n}, enhanced, polished', (n_, k_, m_, 'polish.on=true', 'polish.tokens=160')),
  ]


def curve(ns: Sequence[int], ks: Sequence[int], ms: Sequence[int]) -> list[Arm]:
  """Over n alone; over k and over m at the middle n."""
  middle = ns[len(ns) // 2]
  arms = [Arm(f'n={n}', (f'sample.n={n}', 'enhance.on=false')) for n in ns]
  arms += [Arm(f'n={middle} k={k} m=2', (f'sample.n={middle}', f'select.k={k}', 'enhance.m=2')) for k in ks]
  arms += [Arm(f'n={middle} k=1 m={m}', (f'sample.n={middle}', f'enhance.m={m}')) for m in ms]
  return list({arm.name: arm for arm in arms}.values())


class Rows:
  """A file of rows, one per policy, arm, seed and task; what is there is not made again."""

  def __init__(self, path: pathlib.Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    self._path = path
    self.rows: list[dict[str, Any]] = []
    if path.exists():
      self.rows = [json.loads(line) for line in path.read_text().splitlines()]
    self._known = {self._key(row) for row in self.rows}

  def has(self, policy: str, arm: str, seed: int, task: str) -> bool:
    return (policy, arm, seed, task) in self._known

  def add(self, row: dict[str, Any]) -> None:
    self.rows.append(row)
    self._known.add(self._key(row))
    with self._path.open('a') as file:
      file.write(json.dumps(row) + '\n')

  def of(self, policy: str, arm: str) -> list[dict[str, Any]]:
    return [row for row in self.rows if (row['policy'], row['arm']) == (policy, arm)]

  @staticmethod
  def _key(row: Row) -> tuple[str, str, int, str]:
    return row['policy'], row['arm'], row['seed'], row['task']


def facts(task: Task, answer: Answer) -> float:
  """The judge that does not select: half for the exact image rule, half for exactly the right tools having
  succeeded. It reads no text, caption or parameter.
  """
  rule = rules.image_rule_score(task.image_rule, len(answer.pictures), exact=True)
  return (rule + rules.tool_accuracy(task, answer)) / 2


async def run(
  rows: Rows, name: str, path: str, arms: Iterable[Arm], seeds: Sequence[int], tasks: Sequence[Task]
) -> None:
  """Makes the rows that are not there yet.

  Args:
    rows: of all policies.
    name: of this one.
    path: a work folder, or a folder of weights read with configs/grpo_tiny.py.
    arms: what is done.
    seeds: of sampling.
    tasks: what is asked.
  """
  arms = list(arms)
  made = (pathlib.Path(path) / 'checkpoints').is_dir()
  loaded, policy = (
    wiring.trained(path) if made else (front.read('configs/grpo_tiny.py'), wiring.load_policy(path))
  )
  configs = {arm.name: _config(arm) for arm in arms}
  held = _sizes(configs.values(), policy, loaded)
  device = Device()
  try:
    async with answering.workshop(
      loaded, device, Writing(1.0, loaded.sampler.tokens, stream='tts'), None, None, 0
    ) as shop:
      async with speaking.batching(policy, device, held, 'tts') as batcher:
        plain = answering.writer(policy, batcher, shop, held)
        flops = scaling.flops_per_token(policy)
        materials = crews.Materials(
          plain,
          shop.registry,
          shop.dispatcher,
          shop.place,
          speaker=scaling.speaker(batcher, policy, held),
          flops=flops,
        )
        for arm in arms:
          began = time.monotonic()
          config = configs[arm.name]
          if config is None:
            await _arm(rows, name, arm, plain, seeds, tasks, flops)
          else:
            async with crews.opened(config, materials) as generate:
              await _arm(rows, name, arm, generate, seeds, tasks, flops)
          print(f'{name}: {arm.name}, {time.monotonic() - began:.0f} s', flush=True)
  finally:
    device.close()


def _config(arm: Arm) -> Any:
  fixed = ('enhance.repairer=none', 'budget.seconds=0.0')
  if arm.changes is None:
    return None
  return front.read('configs/tts_small.py', [f'--config.{change}' for change in (*fixed, *arm.changes)])


def _sizes(configs: Iterable[Any], policy: wiring.Policy, loaded: Any) -> Limits:
  """An engine for all arms."""
  all_ = [scaling.sizes(config, policy, loaded) for config in configs if config is not None]
  samples = max((one.samples for one in all_), default=1)
  prompt = max((one.prompt for one in all_), default=loaded.prompt.tokens)
  response = max((one.response for one in all_), default=loaded.sampler.tokens)
  return Limits(prompt, response, max(32, samples), samples)


async def _arm(rows: Rows, name: str, arm: Arm, generate, seeds, tasks, flops: float) -> None:
  if all(rows.has(name, arm.name, seed, task.id) for seed in seeds for task in tasks):
    return
  places = asyncio.Semaphore(AT_ONCE)
  judge = Scores('reporting', crews.programs(), crews.reward_value('paper'))

  async def warm(task: Task) -> None:
    async with places:
      await generate(task, 1, WARM)

  async def one(seed: int, task: Task) -> None:
    if rows.has(name, arm.name, seed, task.id):
      return
    async with places:
      answer = (await generate(task, 1, seed))[0]
    used = dict(answer.usage)
    tokens = used['prompt_tokens'] + used['completion_tokens']
    selecting = (await judge.rank(task, [answer])).values[0]
    rows.add(
      {
        **{'policy': name, 'arm': arm.name, 'seed': seed, 'task': task.id},
        **{'selecting': selecting, 'facts': facts(task, answer)},
        'tokens': tokens,
        'flops': used.get('flops', flops * tokens),
        'calls': used.get('calls', float(len(answer.outcomes))),
        'seconds': used['seconds'],
      }
    )

  # Most of what the tasks need is compiled before anything is timed; what is not stalls a few.
  await asyncio.gather(*map(warm, tasks))
  await asyncio.gather(*(one(seed, task) for seed in seeds for task in tasks))


def difference(figure: str, first: Sequence[Row], second: Sequence[Row]) -> Difference:
  """Second − first, paired by seed and task."""
  values = [
    {f'{row["seed"]}/{row["task"]}': row[figure] for row in rows if row[figure] is not None}
    for rows in (first, second)
  ]
  return paired(figure, *values)


def mean(found: Iterable[float | None]) -> float:
  known = [value for value in found if value is not None]
  return float(np.mean(known)) if known else float('nan')


def seconds(rows: Iterable[Row]) -> float:
  """The median answer's: a program that is compiled midway stalls some."""
  return float(np.median([row['seconds'] for row in rows] or [float('nan')]))


def table(rows: Rows, policy: str, arms: Sequence[str], against: str | None = PLAIN) -> str:
  """Means, costs of an answer, and paired differences with 95 % intervals."""
  head = ['', 'selecting judge', 'other judge', 'tokens', 'MFLOPs', 'calls', 'median seconds', 'n']
  head += ['Δ selecting', 'Δ other'] if against else []
  lines = [f'| {" | ".join(head)} |', '|---' * len(head) + '|']
  for arm in arms:
    found = rows.of(policy, arm)
    cells = [arm, *(f'{mean(row[name] for row in found):.3f}' for name in ('selecting', 'facts'))]
    tokens, flops, calls = (mean(row[name] for row in found) for name in ('tokens', 'flops', 'calls'))
    cells += [f'{tokens:.0f}', f'{flops / 1e6:.0f}', f'{calls:.1f}', f'{seconds(found):.2f}', f'{len(found)}']
    for figure in ('selecting', 'facts') if against else ():
      gap = difference(figure, rows.of(policy, against or PLAIN), found)
      shown = arm != against and gap.mean is not None
      cells.append(f'{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]' if shown else '')
    lines.append(f'| {" | ".join(cells)} |')
  return '\n'.join(lines)
