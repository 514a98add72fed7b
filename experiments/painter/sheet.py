"""Contact sheets of the built-in painter: held-out captions, and the same scenes as the rules draw them.

    python -m experiments.painter.sheet --out=sheet.png [--folder=llmi_jax/assets/painter]

Every cell has the painted picture above the drawn one; captions go to standard output, row by row. No caption
was trained on: each has a pair of subject and colour, or of subject and place, that training never showed.
"""

import pathlib
import random
import time

import jax
import numpy as np
from absl import app, flags
from PIL import Image

from experiments.painter import drawing
from llmi_jax.data.builtin import scenes
from llmi_jax.painter import flow, words
from llmi_jax.weights import painter as weights

ROWS, COLUMNS = 5, 8


def found(painted: np.ndarray, rules: np.ndarray) -> float:
  """The share of painted pictures that are nearer to the drawing of their caption than to any other's."""
  a, b = (pixels.reshape(len(pixels), -1).astype(np.float64) for pixels in (painted, rules))
  distances = ((a[:, None] - b[None]) ** 2).mean(-1)
  return float((distances.argmin(1) == np.arange(len(a))).mean())


def main(_):
  loaded = weights.load(pathlib.Path(flags.FLAGS.folder))
  rng = random.Random(flags.FLAGS.seed)
  drawn = [scenes.draw(rng, held_out=True) for _ in range(ROWS * COLUMNS)]
  captions = words.encode([scenes.caption(scene) for scene in drawn], loaded.vocabulary)
  seeds = np.arange(len(drawn), dtype=np.uint32)
  paint = jax.jit(lambda params, c, s: flow.paint(params, loaded.shape, c, s, guidance=flags.FLAGS.guidance))
  painted = np.concatenate(
    [paint(loaded.params, captions[i : i + 8], seeds[i : i + 8]) for i in range(0, 40, 8)]
  )
  began = time.perf_counter()
  for i in range(8):
    paint(loaded.params, captions[i : i + 8], seeds[i : i + 8]).block_until_ready()
  print(f'{(time.perf_counter() - began) / 64 * 1e3:.1f} ms a picture')
  rules = np.stack([drawing.draw(scene, rng) for scene in drawn])
  print(f'nearest to its own drawing among {len(drawn)}: {found(painted, rules):.0%}')
  cells = np.concatenate([painted, rules], 1).reshape(ROWS, COLUMNS, 128, 64, 3)
  for row in range(ROWS):
    for scene in drawn[row * COLUMNS : (row + 1) * COLUMNS]:
      print(f'{row + 1}: {scenes.caption(scene)}')
  sheet = cells.transpose(0, 2, 1, 3, 4).reshape(ROWS * 128, COLUMNS * 64, 3)
  Image.fromarray(sheet).resize((COLUMNS * 128, ROWS * 256), Image.Resampling.NEAREST).save(flags.FLAGS.out)


if __name__ == '__main__':
  flags.DEFINE_string('out', None, 'PNG to write.', required=True)
  flags.DEFINE_string('folder', 'llmi_jax/assets/painter', 'Of the weights.')
  flags.DEFINE_integer('seed', 0, 'Which captions.')
  flags.DEFINE_float('guidance', flow.GUIDANCE, 'Classifier-free.')
  app.run(main)
