"""Scaling from the command line: a document with its record, an evaluation that says who selected."""

import json
import pathlib
import subprocess
import sys

import pytest

from llmi_jax.data import tasks
from llmi_jax.data.builtin import generate

ROOT = pathlib.Path(__file__).resolve().parents[1]
TTS = f'--tts={ROOT / "configs" / "tts_small.py"}'
QUICK = ('--tts_set=enhance.repairer=none', '--tts_set=sample.n=3')


def run(module, *arguments):
  command = [sys.executable, '-m', f'llmi_jax.{module}', *map(str, arguments)]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
  return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """A work folder after one step."""
  folder = tmp_path_factory.mktemp('run')
  tasks.save(generate.tasks('test')[:2], folder / 'few.parquet')
  values = {
    **{'steps': 1, 'data.prompts': 2, 'data.samples': 2, 'data.eval': folder / 'few.parquet'},
    **{'eval.samples': 1, 'optimizer.widths': '(160,)', 'checkpoint.every': 1},
  }
  overrides = [f'--config.{key}={value}' for key, value in values.items()]
  code, _, errors = run('main', '--config=configs/grpo_tiny.py', f'--workdir={folder / "work"}', *overrides)
  assert code == 0, errors
  return folder / 'work'


@pytest.mark.slow
def test_a_document_comes_with_its_record_and_again_the_same(trained, tmp_path):
  out = tmp_path / 'cat.md'
  prompt = '--prompt=Show a tabby cat in real life, with one picture.'
  arguments = ('generate', f'--policy={trained}', f'--out={out}', TTS, *QUICK)
  code, said, errors = run(*arguments, prompt)
  assert code == 0, errors
  assert str(tmp_path / 'cat_tts' / 'scaling.html') in said
  first, journal = out.read_text(), tmp_path / 'cat_tts' / 'journal' / 'process-0.jsonl'
  kept = journal.read_bytes()
  code, _, errors = run(*arguments, prompt)
  assert code == 0, errors
  assert out.read_text() == first and journal.read_bytes() == kept
  code, _, errors = run(*arguments, '--prompt=Show a dog.')
  assert code == 2 and 'another prompt' in errors


@pytest.mark.slow
def test_who_selects_does_not_report_unless_insisted_upon(tmp_path):
  policy = ('--policy=builtin:tiny', '--config=configs/grpo_tiny.py', '--rows=4', '--judge=offline')
  arguments = ('evaluate', *policy, '--limit=3', TTS, *QUICK)
  code, _, errors = run(*arguments, f'--workdir={tmp_path / "a"}')
  assert code == 2 and 'programs selects and would also report' in errors
  code, out, errors = run(*arguments, '--tts_set=selector.insist=true', f'--workdir={tmp_path / "b"}')
  assert code == 0, errors
  assert 'tts_small.py' in out and 'whoever ran this insisted' in out
  folders = list((tmp_path / 'b' / 'scaling').iterdir())
  assert len(folders) == 3
  accounts = [json.loads((folder / 'account.json').read_text())[0] for folder in folders]
  assert all(account['total']['completion_tokens'] > 0 for account in accounts)
  code, _, errors = run(*arguments, '--tools=absent', f'--workdir={tmp_path / "c"}')
  assert code == 2 and '--tools=absent runs none' in errors
