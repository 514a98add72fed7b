"""Trains grpo_tiny with judges over the chat protocol, once clean and once with a share of all calls failing.

    python -m experiments.faults.run --out=runs/faults

Judges are a separate process that speaks the protocol and grades by the offline judges' rules
(`tests/doubles/judge.py`). In the second run 30 % of the documents cannot be judged by either judge,
whatever is retried, and 30 % of the tool calls are lost. Both policies are then evaluated without faults.
Prints the table of the README beside it.
"""

import json
import pathlib
import subprocess
import sys

from absl import app, flags, logging

from llmi_jax import front, main, toolbox, wiring
from llmi_jax.weights import save
from tests.doubles import tools

OUT = flags.DEFINE_string('out', 'runs/faults', 'Folder of the runs.')
SHARE = flags.DEFINE_float('share', 0.3, 'Share of judge and tool calls that fail.')
STEPS = flags.DEFINE_integer('steps', 120, 'Updates.')
OVERRIDES = flags.DEFINE_multi_string('set', [], 'Further KEY=VALUE of the config.')
FIGURES = ('reward', 'rule', 'llm', 'mllm', 'valid_tag_rate', 'image_rule_rate', 'tool_accuracy')


class Server:
  """The judging process."""

  def __init__(self, share: float):
    command = [sys.executable, '-m', 'tests.doubles.judge', f'--faults={share}']
    self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert self._process.stdout
    self.url = self._process.stdout.readline().strip()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._process.communicate()


def settings(url: str, **more):
  """grpo_tiny with remote judges that give up quickly."""
  values = {'reward.judges': 'remote', 'steps': STEPS.value, **more}
  quick = {'urls': (url,), 'seconds': 2.0, 'attempt_seconds': 0.5, 'attempts': 2, 'retry_wait': 0.01}
  for name in ('llm', 'mllm'):
    values |= {f'reward.remote.{name}.{key}': value for key, value in (quick | {'canaries': 0}).items()}
  overrides = [f'{key}={value}' for key, value in values.items()] + OVERRIDES.value
  return front.read('configs/grpo_tiny.py', [f'--config.{override}' for override in overrides])


def train(name: str, share: float) -> pathlib.Path:
  """Trains with faults."""
  workdir = pathlib.Path(OUT.value) / name
  clean = toolbox.registry
  with Server(share) as server:
    toolbox.registry = tools.wrap(clean, share)
    try:
      main.train(settings(server.url), workdir)
    finally:
      toolbox.registry = clean
  return workdir


def evaluate(workdir: pathlib.Path, name: str, policy: str) -> dict:
  """A policy's figures without faults, by a run of no steps."""
  with Server(0.0) as server:
    main.train(settings(server.url, **{'steps': 0, 'policy.path': policy}), workdir / name)
  return json.loads((workdir / name / 'summary.json').read_text())['eval_before']


def export(workdir: pathlib.Path) -> str:
  """The trained policy as a Hugging Face folder."""
  _, policy = wiring.trained(str(workdir))
  folder = workdir / 'export'
  extra = {'tokenizer_digest': policy.tokenizer.digest}
  save.save_pretrained(policy.model, policy.config, folder, policy.folder, merge=True, extra=extra)
  return str(folder)


def row(name: str, figures: dict) -> str:
  values = ' | '.join(f'{figures[key]:.3f}' for key in FIGURES)
  return f'| {name} | {values} | {figures["n_unscorable"]} |'


def left_out(workdir: pathlib.Path) -> str:
  """What the metrics say was left out, by cause."""
  counts: dict[str, float] = {}
  for line in (workdir / 'metrics.jsonl').read_text().splitlines():
    for key, value in json.loads(line).items():
      if key.startswith(('unscorable/', 'judge/')) or key == 'rollout/unscorable':
        counts[key] = counts.get(key, 0) + (value or 0)
  return '\n'.join(f'| {key} | {count:.0f} |' for key, count in sorted(counts.items()))


def run(_):
  logging.set_verbosity(logging.ERROR)
  runs = {'clean': train('clean', 0.0), 'faults': train('faults', SHARE.value)}
  before = evaluate(runs['clean'], 'start', 'builtin:tiny')
  after = {name: evaluate(workdir, 'end', export(workdir)) for name, workdir in runs.items()}
  print(f'| | {" | ".join(FIGURES)} | unscorable |\n|{"---|" * (len(FIGURES) + 2)}')
  print(row('before', before))
  for name, figures in after.items():
    print(row(name, figures))
  gains = {name: figures['reward'] - before['reward'] for name, figures in after.items()}
  print(f'\nGain with faults / clean gain: {gains["faults"] / gains["clean"]:.2f}\n')
  print(f'| left out with faults | count |\n|---|---|\n{left_out(runs["faults"])}')


if __name__ == '__main__':
  app.run(run)
