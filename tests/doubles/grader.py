"""A chat server that grades whatever `eval/` asks, at once and always alike: for tests and benchmarks.

    python -m tests.doubles.grader [--seconds=0.05]

Grades are drawn from a hash of what is asked. It prints its base URL, then serves until its standard input
ends; a line in asks for the number of completions so far.
"""

import argparse
import asyncio
import hashlib
import json
import re
import sys

from tests.doubles.chat import Act, ChatServer, texts

CRITERIA = (
  *('Correctness', 'Image-Text Coherency', 'Multi-step Consistency', 'Content Quality'),
  *('Human Preference Alignment', 'Completeness', 'Content Richness'),
)
# Every kind of bad reply. None of them is a grade.
BAD = {
  'server': Act('status', 'overloaded', 503),
  'refused': Act('status', 'no such model', 404),
  'die': Act('die'),
  'cut': Act('cut', 'half'),
  'html': Act('raw', '<html>Bad gateway</html>'),
  'nothing': Act('raw', ''),
  'no choices': Act('raw', '{"choices": []}'),
  'empty': Act(text=''),
  'refusal': Act(text='I am sorry, but I cannot help with that.'),
  'language': Act(text='Das ist eine sehr gute Antwort: fünf Punkte.'),
  'truncated': Act(text='{"Judge": 9, "score": 2, "overall_score": 9', finish='length'),
  'code': Act(text='VERDICT 000000000000\nscore: 2\njudge: Yes\nbetter: A\ncorrectness: 10'),
  'list': Act(text='[9, 9, 9]'),
  'number': Act(text='9'),
  'null': Act(text='null'),
}


def answer(body, salt=''):
  """The reply that is asked for."""
  text = texts(body)
  draw = hashlib.sha256((salt + text).encode()).digest()
  if found := re.findall(r'^VERDICT (\w{12})$', text, re.M):
    fields = re.findall(r'^(\w+): one of (.+)$', text, re.M)
    lines = [f'{name}: {_word(words, draw[i])}' for i, (name, words) in enumerate(fields)]
    return f'So it is.\nVERDICT {found[-1]}\n' + '\n'.join(lines)
  number = lambda i, low, high: low + draw[i] % (high - low + 1)
  if 'Image-Text Coherency' in text:
    grades = {n: {'Score': number(i, 0, 10), 'Justification': 'so'} for i, n in enumerate(CRITERIA)}
    return json.dumps(grades)
  if 'overall_score' in text:
    return json.dumps({'overall_score': number(0, 1, 10), 'final_thoughts': 'so'})
  if '"Yes" or "No"' in text or "'Yes' or 'No'" in text:
    return json.dumps({'Judge': ('Yes', 'Yes', 'No')[draw[0] % 3], 'Reason': 'so'})
  if '"Judge"' in text:
    return json.dumps({'Judge': number(0, 1, 10), 'Reason': 'so'})
  if '"score"' in text:
    return json.dumps({'score': number(0, 0, 2), 'justification': 'so'})
  if 'Text: [1-5]' in text:
    return f'Text: {number(0, 1, 5)}\nImage: {number(1, 1, 5)}'
  return ('A', 'B', 'Tie(A)', 'Tie(B)')[draw[0] % 4]


def _word(words, draw):
  span = re.fullmatch(r'(\d+) to (\d+)', words)
  choices = [str(n) for n in range(int(span[1]), int(span[2]) + 1)] if span else words.split(', ')
  return choices[draw % len(choices)]


class Grader:
  """What the server answers.

  Attributes:
    bad: kinds of bad replies given, in order.
  """

  def __init__(self, share=0.0, kinds=tuple(BAD), seconds=0.0):
    self.bad = []
    self._share, self._kinds, self._seconds = share, tuple(kinds), seconds

  def __call__(self, body, number):
    draw = hashlib.sha256(texts(body)[:2000].encode()).digest()
    if int.from_bytes(draw[:4], 'big') / 2**32 < self._share:
      kind = self._kinds[len(self.bad) % len(self._kinds)]
      self.bad.append(kind)
      return BAD[kind]
    return Act(text=answer(body), seconds=self._seconds)


async def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('--seconds', type=float, default=0.0)
  options = parser.parse_args()
  async with ChatServer(Grader(seconds=options.seconds)) as server:
    print(server.url, flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
      print(len(server.requests), flush=True)


if __name__ == '__main__':
  asyncio.run(main())
