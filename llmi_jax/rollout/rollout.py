"""A step's tasks → trajectories: a tool starts when its tag is closed, while all go on decoding."""

import asyncio
import dataclasses
import hashlib
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any

import numpy as np

from llmi_jax.core.document import Document
from llmi_jax.core.errors import told
from llmi_jax.core.prompt import Prompt
from llmi_jax.core.task import Task
from llmi_jax.core.trajectory import Trajectory, Turn
from llmi_jax.rollout.accord import Accord
from llmi_jax.rollout.device import Device
from llmi_jax.rollout.episode import Place, Reader, Scoring, Writing, finish
from llmi_jax.rollout.sight import Sight
from llmi_jax.rollout.timeline import Timeline
from llmi_jax.sampling.engine import Engine
from llmi_jax.sampling.keys import Stream, row_keys
from llmi_jax.sampling.request import Piece, Sample


@dataclasses.dataclass(frozen=True)
class Language:
  """What a policy reads and writes, as functions; made by the entry point from `text/`.

  Attributes:
    prompt: task → what the model reads.
    decode: token ids → text, special tokens left out.
    parse: response and number of input images → document.
    read: number of input images → a reader of a response that is being written.
    locate: token ids and document → the document with token ranges.
  """

  prompt: Callable[[Task], Prompt]
  decode: Callable[[np.ndarray], str]
  parse: Callable[[str, int], Document]
  read: Callable[[int], Reader]
  locate: Callable[[np.ndarray, Document], Document]


@dataclasses.dataclass(frozen=True)
class Roller:
  """Everything a rollout needs besides parameters and tasks.

  Attributes:
    device: the thread that runs `engine`.
    engine: generates.
    language: reads and writes.
    scoring: runs tools and judges.
    seed: of the run.
    limit: most tokens per response.
    sight: makes the engine's requests.
    accord: the processes that take part.
  """

  device: Device
  engine: Engine
  language: Language
  scoring: Scoring
  seed: int
  limit: int
  sight: Sight
  accord: Accord = dataclasses.field(default_factory=Accord)


async def rollout(
  roller: Roller,
  params: Any,
  tasks: Sequence[Task],
  samples: int,
  step: int,
  stream: Stream,
  timeline: Timeline,
  origin: str = '',
) -> list[Trajectory]:
  """`samples` scored trajectories per task of this process, in request order.

  Args:
    roller: tools of the trade.
    params: the policy's, as the engine wants them.
    tasks: prompts of all processes; each takes its share.
    samples: per task; at most the engine's rows per prompt.
    step: enters the random keys and the journal.
    stream: what is sampled for.
    timeline: gets `prefill`, `decode`, `tools` and `judge`.
    origin: what the answers are signed with.

  Raises:
    DataError: a prompt is too long, naming it, or a picture too large.
    Stopped: a process was asked to stop.
    TrainingError: another process has failed.
  """
  accord, own = roller.accord, roller.accord.share(tasks)
  keys = _keys(roller.seed, stream, step, tasks, samples)[own]
  tasks = tasks[own]
  prompts = [roller.language.prompt(task) for task in tasks]

  def generate() -> Generator[list[Piece | Sample], None, None]:
    going = True
    try:
      with accord.noting():
        for row, prompt in enumerate(prompts):
          roller.engine.submit(roller.sight.request(params, row, prompt, keys[row], roller.limit))
      while going:
        with accord.noting():
          ended = roller.engine.step(params, timeline.span)
        yield [*roller.engine.pieces, *ended]
        going = roller.engine.busy
    finally:
      # Also where nobody reads on: the others would wait in their next round.
      if going:
        accord.leave()
      if roller.engine.busy:
        roller.engine.cancel()

  found: dict[tuple[int, int], asyncio.Task[Trajectory]] = {}
  written: dict[tuple[int, int], Writing] = {}
  try:
    async with asyncio.TaskGroup() as group:
      async for events in roller.device.stream(generate):
        with accord.noting():
          for event in events:
            row, sample = event.id, event.sample
            assert isinstance(row, int)
            task, place = tasks[row], Place(stream, step, sample)
            if (row, sample) not in written:
              reader = roller.language.read(len(task.input_images))
              written[row, sample] = Writing(reader, roller.scoring.open(task, place))
            writing = written[row, sample]
            if isinstance(event, Piece):
              writing.grow(event.tokens, timeline.now())
              continue
            writing.end(event.tokens, timeline.now())
            turn = _turn(roller.language, task, prompts[row], event, timeline.now())
            work = finish(task, turn, writing, place, roller.scoring, timeline, origin)
            found[row, sample] = group.create_task(_noted(accord, work))
  except BaseExceptionGroup as group:
    raise told(group) from group
  finally:
    # What was still being written when something failed, or when nobody waited any more.
    await asyncio.gather(*(one.cancel() for key, one in written.items() if key not in found))
  judged = [found[key].result() for key in sorted(found)]
  rewards = roller.scoring.total([t.answer.reward for t in judged if t.answer.reward])
  return [dataclasses.replace(t, reward=reward) for t, reward in zip(judged, rewards, strict=True)]


async def _noted(accord: Accord, work: Coroutine[Any, Any, Trajectory]) -> Trajectory:
  with accord.noting():
    return await work


def _turn(language: Language, task: Task, prompt: Prompt, sample: Sample, now: float) -> Turn:
  text = language.decode(sample.tokens)
  document = language.locate(sample.tokens, language.parse(text, len(task.input_images)))
  return Turn(
    prompt,
    sample.tokens,
    np.ones(len(sample.tokens), bool),
    sample.logp_sampled,
    sample.logp_full,
    sample.finish,
    text,
    document,
    0.0,
    now,
  )


def _keys(seed: int, stream: Stream, step: int, tasks: Sequence[Task], samples: int):
  """[P, R] row keys; equal tasks within one step count on, so that no key is used twice."""
  seen: dict[str, int] = {}
  ids, numbers = [], []
  for task in tasks:
    first = seen.get(task.id, 0)
    seen[task.id] = first + samples
    word = int.from_bytes(hashlib.sha256(task.id.encode()).digest()[:4], 'big')
    ids += [word] * samples
    numbers += range(first, first + samples)
  keys = row_keys(seed, stream, step, np.array(ids, np.uint32), np.array(numbers, np.uint32))
  return keys.reshape(len(tasks), samples)
