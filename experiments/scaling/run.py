"""What each stage of scaling adds, by the judge that selects and by one that does not, and what it costs.

    python -m experiments.scaling.run --policies=warm=builtin:tiny,trained=runs/first/seed0 --out=runs/scaling

Every policy answers the test split with equal seeds: plain, the best of n, enhanced too, polished too; then a
curve over n, k and m. Rows are kept as they come, and the same command goes on. Prints the tables of the
README beside it. `--tasks=10 --seeds=0` is a look at it.
"""

import asyncio
import pathlib

from absl import app, flags, logging

from experiments.scaling import arms
from llmi_jax.data.builtin import generate

OUT = flags.DEFINE_string('out', 'runs/scaling', 'Folder of the rows.')
POLICIES = flags.DEFINE_list('policies', ['warm=builtin:tiny'], 'NAME=FOLDER of each policy.')
SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Of sampling.')
TASKS = flags.DEFINE_integer('tasks', 0, 'Of the test split; 0 for all.')
NS = flags.DEFINE_list('n', ['1', '2', '4', '8', '16'], 'Of the curve.')
KS = flags.DEFINE_list('k', ['1', '2', '4'], 'Likewise.')
MS = flags.DEFINE_list('m', ['0', '1', '2', '4'], 'Likewise.')


def main(_: list[str]) -> None:
  logging.set_verbosity(logging.ERROR)
  asyncio.run(measure())


async def measure() -> None:
  rows = arms.Rows(pathlib.Path(OUT.value) / 'rows.jsonl')
  tasks = generate.tasks('test')[: TASKS.value or None]
  seeds = [int(seed) for seed in SEEDS.value]
  stairs = arms.stairs()
  curve = arms.curve(*([int(value) for value in flag.value] for flag in (NS, KS, MS)))
  tables = []
  for name, path in (policy.split('=', 1) for policy in POLICIES.value):
    await arms.run(rows, name, path, [*stairs, *curve], seeds, tasks)
    tables += [
      f'{name}, {len(seeds)} seeds × {len(tasks)} tasks\n',
      arms.table(rows, name, [a.name for a in stairs]),
    ]
    tables += ['', arms.table(rows, name, [arms.PLAIN, *(a.name for a in curve)]), '']
  text = '\n'.join(tables)
  (pathlib.Path(OUT.value) / 'table.md').write_text(text)
  print(text)


if __name__ == '__main__':
  app.run(main)
