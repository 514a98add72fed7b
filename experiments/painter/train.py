"""Trains the built-in painter on drawn scenes and writes its weights.

    XLA_FLAGS=--xla_cpu_multi_thread_eigen=false nice taskset -c 0 \\
      python -m experiments.painter.train --out=llmi_jax/assets/painter

About forty minutes on one core. Scenes with a held-out pair of subject and colour or place are never drawn.
The weights that count are an average over the last steps, kept in half precision.

The weights that come with the package are of an interrupted start: 750, 1,700 and 2,800 steps, each part
going on from the last (`--start`) with seeds 0, 3 and 7, about twenty minutes of a core. They see place,
time, sky, colour and number well and about half of the subjects; two different subjects are still blended.
More steps are the mend.
"""

import itertools
import pathlib
import random
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from experiments.painter import drawing
from llmi_jax.data.builtin import scenes
from llmi_jax.painter import flow, words
from llmi_jax.painter.network import Painter, Shape
from llmi_jax.weights import painter as weights

STEPS, BATCH = 12_000, 16


def batches(vocabulary: dict[str, int], seed: int, size: int):
  """Endless (pictures [B, 64, 64, 3] in −1 to 1, captions [B, words.LENGTH])."""
  rng = random.Random(seed)
  while True:
    drawn = [scenes.draw(rng) for _ in range(size)]
    pictures = np.stack([drawing.draw(scene, rng) for scene in drawn])
    captions = words.encode([scenes.caption(scene) for scene in drawn], vocabulary)
    yield pictures.astype(np.float32) / 127.5 - 1, captions


def optimizer(rate: float, steps: int) -> optax.GradientTransformation:
  """Muon for the matrices of the layers, AdamW for the rest; warm-up, then a straight way down."""
  schedule = optax.schedules.join_schedules(
    [
      optax.schedules.linear_schedule(0.0, 1.0, 100),
      optax.schedules.constant_schedule(1.0),
      optax.schedules.linear_schedule(1.0, 0.0, int(steps * 0.7)),
    ],
    [100, steps - int(steps * 0.7)],
  )
  stacked = optax.contrib.MuonDimensionNumbers(1, 2)

  def dimensions(params):
    def of(path, leaf):
      return stacked if 'blocks' in jax.tree_util.keystr(path) and leaf.ndim == 3 else None

    return jax.tree_util.tree_map_with_path(of, params)

  return optax.chain(
    optax.clip_by_global_norm(1.0),
    optax.contrib.muon(
      lambda step: rate * schedule(step),
      adam_learning_rate=lambda step: 0.3 * rate * schedule(step),
      muon_weight_dimension_numbers=dimensions,
      consistent_rms=0.2,
    ),
  )


def main(_):
  vocabulary = scenes.vocabulary()
  shape = Shape(max(vocabulary.values()) + 1)
  if flags.FLAGS.start:
    params = weights.load(pathlib.Path(flags.FLAGS.start)).params
  else:
    params = jax.jit(lambda key: Painter(shape, key))(jax.random.key(flags.FLAGS.seed))
  total = flags.FLAGS.steps
  rule = optimizer(flags.FLAGS.rate, total)
  state = rule.init(params)
  average = params

  @jax.jit
  def step(params, average, state, pictures, captions, key, keep):
    value, grads = jax.value_and_grad(flow.loss)(params, shape, pictures, captions, key)
    updates, state = rule.update(grads, state, params)
    params = optax.apply_updates(params, updates)
    average = jax.tree.map(lambda a, p: keep * a + (1 - keep) * p, average, params)
    return params, average, state, value

  began, losses = time.monotonic(), []
  keys = jax.random.split(jax.random.key(flags.FLAGS.seed + 1), total)
  source = batches(vocabulary, flags.FLAGS.seed, flags.FLAGS.batch)
  for i, (pictures, captions) in enumerate(itertools.islice(source, total)):
    keep = jnp.float32(min(0.995, i / (i + 10)))
    params, average, state, value = step(params, average, state, pictures, captions, keys[i], keep)
    losses.append(float(value))
    if i % 100 == 99 or i == total - 1:
      print(f'{i + 1}/{total} loss {np.mean(losses[-100:]):.4f} {time.monotonic() - began:.0f}s', flush=True)
    if i % 250 == 249 or i == total - 1:
      weights.save(average, shape, vocabulary, pathlib.Path(flags.FLAGS.out))


if __name__ == '__main__':
  flags.DEFINE_string('out', None, 'Folder to write.', required=True)
  flags.DEFINE_string('start', '', 'Folder of weights to go on from, with a schedule of their own.')
  flags.DEFINE_integer('steps', STEPS, 'Updates.')
  flags.DEFINE_integer('batch', BATCH, 'Scenes per update.')
  flags.DEFINE_integer('seed', 0, 'Of everything random.')
  flags.DEFINE_float('rate', 0.01, "Muon's learning rate; AdamW has 0.3 of it.")
  app.run(main)
