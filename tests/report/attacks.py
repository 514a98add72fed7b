"""A run whose strings an attacker chose, with 5 MB of text, 200 pictures and one of 20,000 pixels."""

import json

import numpy as np

from llmi_jax.core.outcome import Attribution
from llmi_jax.core.task import ImageRule
from llmi_jax.core.verdict import Score, Verdict
from llmi_jax.data import rollouts
from llmi_jax.services import images

TEXTS = (
  '<script>window.pwned = 1; alert(1)</script>',
  '<img src=x onerror="window.pwned=1">',
  '<svg onload="window.pwned=1"><script>alert(2)</script></svg>',
  '[click](javascript:window.pwned=1)',
  '![x](https://evil.example/pixel.png)',
  '<img src="https://evil.example/pixel.png">',
  '<iframe src="https://evil.example"></iframe><base href="https://evil.example/">',
  '<style>*{display:none}</style><link rel=stylesheet href="https://evil.example/a.css">',
  '<meta http-equiv=refresh content="0;url=https://evil.example">',
  '<form action="https://evil.example"><input autofocus onfocus="window.pwned=1"></form>',
  '"><script>window.pwned=1</script>',
  '</pre></details></article></main><script>window.pwned=1</script>',
  '\u202e reversed \u2066 \u200b \x00 \x1b[31m \ud800',
)
TEXT = '\n\n'.join(TEXTS)


def write(make, folder):
  """Writes the run; returns its folder."""
  make.run(folder, steps=4)
  (folder / 'config.json').write_text(json.dumps({'seed': TEXT, 'a': {TEXT[:60]: TEXT}}))
  line = {'step': 4, f'tools/{TEXTS[1]}/calls': 3, f'tools/{TEXTS[10]}/success_rate': 0.5}
  with open(folder / 'metrics.jsonl', 'a') as file:
    file.write(json.dumps(line) + '\n')
  credit = Attribution(TEXT, TEXT, TEXT, 'javascript:window.pwned=1')
  verdict = Verdict('llm', 'scored', (Score('text', 4, note=TEXT),), justification=TEXT, model=TEXT)
  task = make.task(TEXTS[0], rule=ImageRule('free'), question=TEXT)
  wide = images.from_array(np.full((400, 20_000, 3), 90, np.uint8), source='search:9')
  rows = []
  for k in range(4):
    built = make.Answering().thought(TEXT).text(TEXT)
    built.picture('search', make.scene(k), TEXT, {'query': TEXT, 'code': TEXT}, credit)
    built.picture('search', wide)
    built.text('x' * 5_000_000 if k == 1 else '# ' + TEXT)
    built.lost('code', error=TEXT, params={'code': TEXT}).malformed(TEXT, TEXT)
    for i in range(200 if k == 2 else 0):
      built.picture('edit', make.scene(i % 5))
    rows.append(built.sample(task, 4, k, (1.0, 0.5, 1.0), None if k == 3 else 0.7, (verdict,)))
  rollouts.write(folder, 'train', 4, rows, make.weights)
  for step in (0, 4):
    built = make.Answering().text(TEXT)
    rollouts.write(folder, 'eval', step, [built.sample(task, step)], make.weights)
  return folder
