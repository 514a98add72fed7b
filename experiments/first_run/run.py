"""Trains grpo_tiny with three seeds and evaluates the control: the untouched warm start at temperature 0.3.

    python experiments/first_run/run.py --out=runs/first

Sharpening alone gets far, so no gain by reinforcement is shown without it. Prints the table of the README
beside it.
"""

import json
import pathlib
import subprocess
import sys

from absl import app, flags

OUT = flags.DEFINE_string('out', 'runs/first', 'Folder of the runs.')
SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds to train.')
FIGURES = ('reward', 'rule', 'llm', 'mllm', 'valid_tag_rate', 'image_rule_rate', 'tool_accuracy')


def train(name: str, *arguments: str) -> dict:
  """One run's summary; a run that was begun goes on."""
  workdir = pathlib.Path(OUT.value) / name
  command = [sys.executable, '-m', 'llmi_jax.main', '--config=configs/grpo_tiny.py', f'--workdir={workdir}']
  subprocess.run([*command, *arguments], check=True)
  return json.loads((workdir / 'summary.json').read_text())


def row(name: str, figures: dict, seconds: float | None = None) -> str:
  values = ' | '.join(f'{figures[key]:.3f}' for key in FIGURES)
  return f'| {name} | {values} | {"" if seconds is None else f"{seconds:.0f}"} |'


def main(_):
  control = train('control', '--config.steps=0', '--config.sampler.temperature=0.3')['eval_before']
  runs = {seed: train(f'seed{seed}', f'--config.seed={seed}') for seed in SEEDS.value}
  print(f'| | {" | ".join(FIGURES)} | seconds |\n|{"---|" * (len(FIGURES) + 2)}')
  for seed, summary in runs.items():
    print(row(f'seed {seed}, before', summary['eval_before']))
    print(row(f'seed {seed}, after', summary['eval_after'], summary['seconds']))
  print(row('control: before, at T = 0.3', control))


if __name__ == '__main__':
  app.run(main)
