"""A judge of one's own: texts are graded by how plain their words are, pictures by the built-in judge."""

import re

from llmi_jax.core.answer import Answer, Prose
from llmi_jax.core.task import Task
from llmi_jax.core.verdict import Score, Verdict
from llmi_jax.judges.offline import OfflineVisual


class PlainWords:
  """Scores `text` by the mean length of words, and `tag` by the share of tags that could be read."""

  name = 'llm'  # what rewards read; any other name is kept with the rollouts and gives no reward

  async def judge(self, task: Task, answer: Answer, *, vote: int = 0, seed: int = 0) -> Verdict:
    words = [w for part in answer.parts if isinstance(part, Prose) for w in re.findall(r'\w+', part.text)]
    if not words:
      text = Score('text', 1, note='There are no words.')
    else:
      mean = sum(map(len, words)) / len(words)
      text = Score('text', min(5.0, max(1.0, 9 - mean)), note=f'{mean:.1f} letters a word')
    calls, pictures = len(answer.outcomes), len(answer.pictures)
    tag = Score('tag', 1 + 4 * pictures / calls if calls else 1, note=f'{pictures} pictures of {calls} calls')
    return Verdict(
      self.name, 'scored', (text, tag), f'{text.note}; {tag.note}', model='plain words', vote=vote
    )


def get_judges():
  return [PlainWords(), OfflineVisual()]
