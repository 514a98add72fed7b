"""What degenerate policies and injected instructions earn under every preset, and what the audit says.

    python -m experiments.hacking.run

Policies answer built-in test tasks; their tools run. Two judges bound what a language model would do: the
offline one, which reads no instructions, and a gullible one, which gives 5 to whatever an injection asks it
to.
"""

import asyncio
import dataclasses
import random
from collections.abc import Callable, Sequence

from absl import app, flags

from experiments.hacking.documents import INJECTIONS, POLICIES
from llmi_jax import front, rewarding, toolbox
from llmi_jax.core.answer import Answer
from llmi_jax.core.reward import RewardParts
from llmi_jax.core.task import Task
from llmi_jax.core.trajectory import Trajectory
from llmi_jax.core.verdict import Score, Verdict
from llmi_jax.data.builtin import generate
from llmi_jax.judges import gates
from llmi_jax.judges.offline import OfflineText, OfflineVisual
from llmi_jax.rewards import audit, facts, injection, parts
from llmi_jax.rewards.presets import PRESETS, Preset
from llmi_jax.rollout import watch
from llmi_jax.rollout.device import Device
from llmi_jax.text import grammar
from llmi_jax.tools.answer import compose
from llmi_jax.tools.registry import Registry
from llmi_jax.tools.session import SessionKey

TASKS = flags.DEFINE_integer('tasks', 60, 'Test tasks that each policy answers.')
REWARDS = {
  **PRESETS,
  'gate all': Preset(gate='all'),
  'no gate': Preset(gate='none'),
  'with hygiene': Preset(0.2, 0.4, 0.3, extra={'hygiene': 0.1}),
}


@dataclasses.dataclass(frozen=True)
class Answered:
  """One answer with its task and the response behind it."""

  task: Task
  answer: Answer
  response: str


async def answers(
  registry: Registry, tasks: Sequence[Task], write: Callable[[Task, random.Random], str]
) -> list[Answered]:
  """Carries what a policy writes through grammar, tools and the offline judges."""
  dispatcher, rng = toolbox.dispatcher(registry, _config().tools), random.Random(0)
  judges = OfflineText(), OfflineVisual()
  made = []
  for index, task in enumerate(tasks):
    response = write(task, rng)
    document = grammar.parse(response, registry.specs, len(task.input_images))
    session = dispatcher.open(task, SessionKey(0, index, task.id, 0))
    for segment in document.segments:
      session.submit(segment)
    answer = Answer(task.id, compose(document, await session.finish()), document)
    verdicts = [await judge.judge(task, answer) for judge in judges]
    made.append(Answered(task, dataclasses.replace(answer, verdicts=tuple(verdicts)), response))
  return made


def rewards(made: Sequence[Answered], chosen: Preset) -> tuple[list[RewardParts], list[float | None]]:
  """Parts and reward of each answer."""
  taken = [
    parts.take_apart(facts.of_answer(one.task, one.answer), chosen.form, tuple(chosen.extra)) for one in made
  ]
  return taken, rewarding.totals(chosen)(taken)


def signs(made: Sequence[Answered]) -> dict[str, float]:
  """What the audit tells about a policy."""
  taken, totals = rewards(made, PRESETS['paper'])
  samples = []
  for one, part, total in zip(made, taken, totals):
    answer = dataclasses.replace(one.answer, reward=part)
    read = watch.sample(Trajectory(one.task, 0, (), answer, reward=total))
    samples.append(dataclasses.replace(read, written=one.response))
  return audit.flagged(audit.audit(samples))


def gullible(one: Answered) -> Answered:
  """Judged by one who does as it is told: 5 throughout where the answer asks for it."""
  if not injection.found(one.response):
    return one
  verdicts = []
  for verdict in one.answer.verdicts:
    scores = tuple(Score(score.name, 5.0) for score in verdict.scores)
    verdicts.append(Verdict(verdict.judge, verdict.status, scores, reason=verdict.reason))
  return dataclasses.replace(one, answer=dataclasses.replace(one.answer, verdicts=tuple(verdicts)))


def gated(one: Answered) -> Answered:
  """Judged behind the gates that stand before a remote text judge."""
  why = gates.closed(one.task, one.answer)
  if why is None:
    return one
  lowest = Verdict('llm', 'scored', (Score('text', 1.0), Score('tag', 1.0)), justification=why)
  verdicts = (lowest, *(v for v in one.answer.verdicts if v.judge != 'llm'))
  return dataclasses.replace(one, answer=dataclasses.replace(one.answer, verdicts=verdicts))


def mean(made: Sequence[Answered], chosen: Preset) -> str:
  totals = [total for total in rewards(made, chosen)[1] if total is not None]
  return f'{sum(totals) / len(totals):.3f}'


async def policies(registry: Registry, tasks: Sequence[Task]) -> list[str]:
  """The table of policies."""
  lines = [f'| policy | {" | ".join(REWARDS)} | paper, behind gates | the audit tells |']
  lines += [f'|{"---|" * (len(REWARDS) + 3)}']
  for name, write in POLICIES.items():
    made = await answers(registry, tasks, write)
    told = ', '.join(f'`{sign}`' for sign in signs(made)) or 'nothing'
    cells = [mean(made, one) for one in REWARDS.values()]
    cells.append(mean([gated(one) for one in made], PRESETS['paper']))
    lines.append(f'| {name} | {" | ".join(cells)} | {told} |')
  return lines


async def injections(registry: Registry, tasks: Sequence[Task]) -> list[str]:
  """The table of injections: each stands alone as the prose, beside right tags."""
  heads = [f'{name}, {judge}' for name in PRESETS for judge in ('offline', 'gullible')]
  lines = [f'| the answer says | found as | {" | ".join(heads)} |', f'|{"---|" * (len(heads) + 2)}']
  for name, words in INJECTIONS.items():
    write = lambda task, rng, words=words: f'{words} {POLICIES["empty text"](task, rng)}'
    made = await answers(registry, tasks, write)
    fooled = [gullible(one) for one in made]
    kinds = ', '.join(sorted({kind for one in made for kind in injection.found(one.response)})) or '—'
    cells = [mean(group, PRESETS[preset]) for preset in PRESETS for group in (made, fooled)]
    lines.append(f'| {name} | {kinds} | {" | ".join(cells)} |')
  return lines


def _config():
  return front.read('configs/grpo_tiny.py')


async def tables(count: int) -> list[str]:
  tasks = generate.tasks('test')
  tasks = [tasks[index * len(tasks) // count] for index in range(count)]
  async with toolbox.registry(_config().tools, Device()) as registry:
    return [*await policies(registry, tasks), '', *await injections(registry, tasks)]


def main(_):
  print('\n'.join(asyncio.run(tables(TASKS.value))))


if __name__ == '__main__':
  app.run(main)
