"""A chat server that judges built-in tasks: the stand-in for a judging model that cannot be had here.

    python -m tests.doubles.judge --faults=0.3

It reads the prompt, finds the task by its question, and grades by the rules of the offline judges, as far
as a reader of the prompt can: it knows pictures by their pixels, not by what a tool said. With `--faults`,
that share of all documents meets a fault of every kind, at each try anew. It prints its base URL, then
serves until its standard input ends.
"""

import argparse
import asyncio
import base64
import collections
import hashlib
import re
import sys

from llmi_jax.core import wording
from llmi_jax.core.answer import Answer, Gap, Prose
from llmi_jax.core.document import Text
from llmi_jax.core.rubric import Shows
from llmi_jax.core.toolspec import Parameter, ToolSpec
from llmi_jax.data import photographs
from llmi_jax.data.builtin import generate
from llmi_jax.judges import offline_text
from llmi_jax.text import grammar
from tests.doubles.chat import Act, ChatServer

SPECS = (
  ToolSpec('search', 'Finds.', (Parameter('query', 'string', 'words'),)),
  ToolSpec('code', 'Draws.', (Parameter('code', 'string', 'Python'),)),
  ToolSpec(
    'edit', 'Changes.', (Parameter('img_index', 'image', 'which'), Parameter('prompt', 'string', 'how'))
  ),
)
KINDS = (
  *('hang', 'busy', 'server', 'die', 'cut', 'html'),
  *('refusal', 'truncated', 'range', 'partial', 'language', 'code'),
)


class Model:
  """Grades by rules."""

  def __init__(self):
    self._tasks = {task.question: task for split in ('train', 'test') for task in generate.tasks(split)}
    self._captions = {p.image.sha256: f'{p.title} {p.caption}' for p in photographs.load()}

  def grades(self, body) -> dict[str, int]:
    """Name → grade of whichever judge asks."""
    parts = _parts(body)
    text = ''.join(part if isinstance(part, str) else '\x00' for part in parts)
    task = self._tasks.get(_between(text, 'REQUEST').split('\n[given picture')[0].strip())
    if task is None:
      return dict.fromkeys(_names(text), 3)  # the panel, a canary
    if 'tag: one of' in text:
      return self._written(task, _between(text, 'ANSWER'))
    shown = [hashlib.sha256(part).hexdigest() for part in parts if isinstance(part, bytes)]
    return self._seen(task, shown[min(4, len(task.input_images)) :], text.count('[no picture here'))

  def _written(self, task, response) -> dict[str, int]:
    made = []
    for segment in grammar.parse(response, SPECS, len(task.input_images)).segments:
      if isinstance(segment, Text):
        made.append(Prose(segment.raw))
      else:
        made.append(Gap('', getattr(segment, 'position', None), segment))
    answer = Answer(task.id, tuple(made))
    return {
      score.name: round(score.value)
      for score in (offline_text.text(task, answer), offline_text.tag(task, answer))
    }

  def _seen(self, task, shown, gaps) -> dict[str, int]:
    wanted = list(offline_text.wanted_pictures(task))
    right = sum(self._fits(one, picture) for one, picture in zip(wanted, shown))
    share = right / max(len(wanted), len(shown) + gaps, 1)
    grade = round(1 + 4 * share)
    return {'image_quality': 5 - min(4, gaps), 'task_relevance': grade, 'text_image_relevance': grade}

  def _fits(self, wanted, picture: str) -> float:
    caption = self._captions.get(picture)
    if isinstance(wanted, Shows):
      return wording.recall(wanted.what, caption) if caption else 0.0
    return float(caption is None)  # something was drawn or changed


class Judge:
  """What the server answers: grades, or for a share of the documents a fault.

  Attributes:
    faults: kinds of faults, counted.
  """

  def __init__(self, share: float = 0.0, seed: int = 0):
    self.faults: collections.Counter[str] = collections.Counter()
    self._model, self._share, self._seed = Model(), share, seed
    self._tries: collections.Counter[str] = collections.Counter()

  def __call__(self, body, number) -> Act:
    text = ''.join(part for part in _parts(body) if isinstance(part, str))
    code = re.search(r'BEGIN ANSWER (\w+)', text)[1]
    draw = hashlib.sha256(f'{self._seed}/{code}'.encode()).digest()
    grades = self._model.grades(body)
    if int.from_bytes(draw[:4], 'big') / 2**32 >= self._share:
      return Act(text=_verdict(code, grades))
    # Every try meets another fault, so that retries and repairs do not undo the share.
    kind = KINDS[(draw[4] + self._tries[code]) % len(KINDS)]
    self._tries[code] += 1
    self.faults[kind] += 1
    return _fault(kind, code, grades)


def _fault(kind: str, code: str, grades: dict[str, int]) -> Act:
  names = list(grades)
  return {
    'hang': Act('hang'),
    'busy': Act('status', 'slow down', 429),
    'server': Act('status', 'overloaded', 503),
    'die': Act('die'),
    'cut': Act('cut', 'half'),
    'html': Act('raw', '<html>Bad gateway</html>'),
    'refusal': Act(text='I am sorry, but I cannot grade this.'),
    'truncated': Act(text=_verdict(code, grades)[:-2], finish='length'),
    'range': Act(text=_verdict(code, dict.fromkeys(names, 9))),
    'partial': Act(text=_verdict(code, {names[0]: 5})),
    'language': Act(text='Das ist eine sehr gute Antwort: fünf Punkte.'),
    'code': Act(text=_verdict('000000000000', dict.fromkeys(names, 5))),
  }[kind]


def _verdict(code: str, grades: dict[str, int]) -> str:
  return f'So it is.\nVERDICT {code}\n' + '\n'.join(f'{name}: {grade}' for name, grade in grades.items())


def _parts(body) -> list[str | bytes]:
  """Texts, and PNG bytes of pictures, of the user's first message."""
  content = next(m['content'] for m in body['messages'] if m['role'] == 'user')
  if isinstance(content, str):
    return [content]
  return [
    part['text'] if part['type'] == 'text' else base64.b64decode(part['image_url']['url'].partition(',')[2])
    for part in content
  ]


def _between(text: str, what: str) -> str:
  found = re.search(rf'BEGIN {what} (\w+)\n(.*?)\nEND {what} \1', text, re.DOTALL)
  return found[2] if found else ''


def _names(text: str) -> list[str]:
  return re.findall(r'^(\w+): one of', text, re.M)


async def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('--faults', type=float, default=0.0)
  parser.add_argument('--seed', type=int, default=0)
  options = parser.parse_args()
  judge = Judge(options.faults, options.seed)
  async with ChatServer(judge) as server:
    print(server.url, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
      # A line in asks for the number of completions so far.
      print(len(server.requests) if line.strip() == 'count' else '', flush=True)
      server.requests.clear() if line.strip() == 'clear' else None


if __name__ == '__main__':
  asyncio.run(main())
