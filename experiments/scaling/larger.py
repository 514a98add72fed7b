"""More compute at answer time, or a larger policy? The seeds' second open question, in small.

    python -m experiments.scaling.larger --out=runs/larger

For each seed a policy of the tiny shape and one of at least four times its parameters are made alike
(`llmi_jax.rebuild`: the same demonstrations, the same steps) and trained alike (`llmi_jax.main`). The small
one answers plainly and with scaling, the large one plainly. Prints quality over FLOPs and over seconds of an
answer. An estimated three hours per seed on two idle cores; whatever is there is not made again.
`--warm_steps=20 --habit_steps=5 --train_steps=1 --tasks=4 --seeds=0` only shows that it works.
"""

import asyncio
import dataclasses
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from absl import app, flags, logging

from experiments.scaling import arms
from experiments.scaling.arms import Arm
from llmi_jax import rebuild
from llmi_jax.data.builtin import generate

OUT = flags.DEFINE_string('out', 'runs/larger', 'Folder of everything.')
SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Of warm start, training and sampling.')
TASKS = flags.DEFINE_integer('tasks', 0, 'Of the test split; 0 for all.')
WARM = flags.DEFINE_integer('warm_steps', rebuild.STEPS, 'Of the warm start.')
HABIT = flags.DEFINE_integer('habit_steps', rebuild.HABIT_STEPS, 'Of its second part.')
TRAIN = flags.DEFINE_integer('train_steps', 120, 'Of reinforcement; 0 compares the warm starts.')
FIGURES = 'selecting', 'facts'
SMALL = rebuild.SHAPE
LARGE = dataclasses.replace(SMALL, width=320, ff=896, layers=5, heads=8, kv_heads=4)
SCALED = [Arm(arms.PLAIN, None)] + [
  Arm(f'best of {n}{words}', (f'sample.n={n}', *more))
  for n in (2, 4, 8)
  for words, more in (('', ('enhance.on=false',)), (', enhanced', ()))
]


def make(name: str, seed: int) -> str:
  """The policy of a shape and a seed: a folder that `arms.run` reads."""
  folder = pathlib.Path(OUT.value) / f'{name}-{seed}'
  warm, trained = folder / 'warm', folder / 'run'
  if not warm.exists():
    rebuild.make(warm, WARM.value, HABIT.value, seed, {'small': SMALL, 'large': LARGE}[name])
  if not TRAIN.value:
    return str(warm)
  if not (trained / 'summary.json').exists():
    values = {'policy.path': warm, 'seed': seed, 'steps': TRAIN.value, 'eval.samples': 1}
    command = [sys.executable, '-m', 'llmi_jax.main', '--config=configs/grpo_tiny.py', f'--workdir={trained}']
    subprocess.run([*command, *(f'--config.{key}={value}' for key, value in values.items())], check=True)
  return str(trained)


def main(_: list[str]) -> None:
  logging.set_verbosity(logging.ERROR)
  asyncio.run(measure())


async def measure() -> None:
  rows = arms.Rows(pathlib.Path(OUT.value) / 'rows.jsonl')
  tasks = generate.tasks('test')[: TASKS.value or None]
  for seed in map(int, SEEDS.value):
    # Rows of all seeds are those of one name: its policies differ by their seeds alone.
    await arms.run(rows, 'small', make('small', seed), SCALED, [seed], tasks)
    await arms.run(rows, 'large', make('large', seed), [Arm(arms.PLAIN, None)], [seed], tasks)
  text = '\n'.join(report(rows))
  (pathlib.Path(OUT.value) / 'table.md').write_text(text + '\n')
  print(text)


def report(rows: arms.Rows) -> list[str]:
  """The tables, and each arm of the small policy against the large one, by what one answer costs."""
  names = [arm.name for arm in SCALED]
  lines = [
    'small\n',
    arms.table(rows, 'small', names),
    '',
    'large\n',
    arms.table(rows, 'large', [arms.PLAIN], None),
  ]
  lines += [
    '',
    '| small policy | Δ selecting to the large one | Δ other | FLOPs ratio | seconds ratio |',
    '|---' * 5 + '|',
  ]
  large = rows.of('large', arms.PLAIN)
  for name in names:
    small, cells = rows.of('small', name), [name]
    for figure in FIGURES:
      gap = arms.difference(figure, large, small)
      cells.append(f'{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]' if gap.mean is not None else '–')
    flops = [arms.mean(row['flops'] for row in one) for one in (small, large)]
    for ours, theirs in (flops, [arms.seconds(small), arms.seconds(large)]):
      cells.append(f'{ours / theirs:.2f}')
    lines.append(f'| {" | ".join(cells)} |')
  return [*lines, '', *by_seed(rows, names)]


def by_seed(rows: arms.Rows, names: Sequence[str]) -> list[str]:
  """The selecting and the other judge's means, seed by seed: what training alone makes of a policy."""
  seeds = sorted({row['seed'] for row in rows.rows})
  lines = [
    f'| selecting / other | {" | ".join(f"seed {seed}" for seed in seeds)} |',
    '|---' * (len(seeds) + 1) + '|',
  ]
  for policy, name in [*(('small', name) for name in names), ('large', arms.PLAIN)]:
    cells = [f'{policy}, {name}']
    for seed in seeds:
      own = [row for row in rows.of(policy, name) if row['seed'] == seed]
      cells.append(' / '.join(f'{arms.mean(row[figure] for row in own):.3f}' for figure in FIGURES))
    lines.append(f'| {" | ".join(cells)} |')
  return lines


if __name__ == '__main__':
  app.run(main)
