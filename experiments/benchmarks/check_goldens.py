"""Does our aggregation give what the references published? Checked on their own shipped judgements.

    python experiments/benchmarks/check_goldens.py --opening=CHECKOUT --isg=CHECKOUT --llmi=CHECKOUT

CHECKOUT is a clone of github.com/LanceZPF/OpenING (56b663b), github.com/Dongping-Chen/ISG (de504cd) or
github.com/ByteDance-BandAI/LLM-I (a20e409). The first two state no licence, so nothing of them is kept here
but the published figures in `goldens.json`. ISG's script is run, in a process of its own, on rows that we
make.

Without arguments it checks what needs no checkout: printed averages against their columns.
"""

import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

from absl import app, flags

from llmi_jax.eval import official
from llmi_jax.eval.isg import bench, levels, records
from llmi_jax.eval.isg.bench import Isg
from llmi_jax.eval.opening import battles, score
from llmi_jax.eval.opening import records as opening_records
from llmi_jax.eval.record import Fault, Judged

OPENING = flags.DEFINE_string('opening', None, 'Checkout of OpenING.')
ISG = flags.DEFINE_string('isg', None, 'Checkout of ISG.')
LLMI = flags.DEFINE_string('llmi', None, 'Checkout of LLM-I.')
GOLDENS = json.loads(pathlib.Path(__file__).with_name('goldens.json').read_text())
# Systems whose outputs are not shipped, so that a pair without a result is no sign of a missing output.
UNSHIPPED = {'VILA-U', 'Emu3', 'MiniGPT-5mmd', 'MiniGPT-5opening'}


class Tally:
  """Counts cells that agree, and prints those that do not."""

  def __init__(self):
    self.failed = 0

  def check(self, name, cells):
    """`cells`: (where, ours, published)."""
    bad = [(where, ours, theirs) for where, ours, theirs in cells if ours != theirs]
    print(f'{name}: {len(cells) - len(bad)} of {len(cells)} agree')
    for where, ours, theirs in bad[:10]:
      print(f'  {where}: ours {ours}, published {theirs}')
    self.failed += len(bad)


def check_scores(tally, folder):
  """Eleven systems, seven criteria and their mean, to two places."""
  rows = score.rows_of(folder / 'Interleaved_Arena' / 'gpt-score_results.json')
  found = score.summarised(rows, 'repo')
  names = [*score.CRITERIA, score.OVERALL]
  cells = [
    (f'{system}, {name}', f'{found[id][name]:.2f}', published)
    for id, (system, *values) in GOLDENS['opening_scores'].items()
    for name, published in zip(names, values)
  ]
  tally.check('OpenING, scores', cells)


def check_arena(tally, folder):
  """Thirteen systems, four rates by IntJudge, in per cent to two places."""
  arena = folder / 'Interleaved_Arena'
  read = lambda name: json.loads((arena / name).read_text())
  judged = battles.distinct(read('intjudge_rag-judge_modelAB_results_new.json'))
  sides = lambda row: {row['model_A']['name'], row['model_B']['name']}
  key = lambda row: (row['data_id'], row['model_A']['id'], row['model_B']['id'])
  done = {key(row) for row in judged}
  pairs = [p for p in read('data_instance_modelAB_new.json') if not UNSHIPPED & sides(p)]
  # Of the shipped systems only Anole lacks outputs.
  absent = {'anole': {p['data_id'] for p in pairs if 'anole' in sides(p) and key(p) not in done}}
  lost = battles.absentees(pairs, judged, absent)
  found = battles.rates([*judged, *lost])
  cells = [
    (f'{system}, {rate}', f'{100 * found[system][rate]:.2f}', published)
    for system, values in GOLDENS['opening_arena'].items()
    for rate, published in zip(battles.RATES, values)
  ]
  print(f'  {len(judged)} distinct battles, {len(lost)} lost for want of an output')
  tally.check('OpenING, arena by IntJudge', cells)


def check_records(tally, folder):
  """The whole test split is read, and counts are the published ones."""
  found = list(opening_records.read(folder / 'OpenING-benchmark', 'repo', False))
  good = [record for record in found if not isinstance(record, Fault)]
  steps = sum(record.task.gold_steps for record in good)
  with_pictures = sum(any(row['image'] for row in _inputs(record)) for record in good)
  cells = [
    ('records', len(good), 2160),
    ('unreadable records', len(found) - len(good), 0),
    ('gold steps', steps, 5469),
    ('with input pictures', with_pictures, 1163),
    ('subtasks', len({record.task.category[-1] for record in good}), 56),
    ('meta-topics', len({record.group for record in good}), 23),
  ]
  tally.check('OpenING, test split', cells)


def _inputs(record):
  return record.task.payload.row['conversations'][0]['input']


def check_isg_averages(tally):
  """Printed averages from their columns, by our table."""
  cells = []
  for name, level, columns, printed in GOLDENS['isg_averages']:
    items = [
      Judged(str(i), group, tuple(levels.Value(n, float(x) if n == level else 0.0) for n in levels.LEVELS))
      for i, (group, x) in enumerate(zip(records.CATEGORIES, columns))
    ]
    value = Isg(pathlib.Path()).tables(items)[0].at('average of categories', level).value
    cells.append((f'{name}, {level}', f'{value:.{len(printed.partition(".")[2])}f}', printed))
  tally.check('ISG-Bench, printed averages', cells)


def check_isg_script(tally, folder, count=2000):
  """The reference's own script and our table, on rows of every kind that its judge can leave behind."""
  rows = [_row(number, random.Random(number)) for number in range(count)]
  with tempfile.TemporaryDirectory() as scratch:
    results, gold = pathlib.Path(scratch) / 'r.jsonl', pathlib.Path(scratch) / 'g.jsonl'
    results.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    gold.write_text(''.join(json.dumps({k: row[k] for k in ('id', 'Category')}) + '\n' for row in rows))
    script = [sys.executable, str(folder / 'calculate_performance.py')]
    arguments = ['--input_file', str(results), '--GT_file', str(gold)]
    out = subprocess.run([*script, *arguments], capture_output=True, text=True, check=True).stdout
  items = [
    Judged(row['id'], records.group_of(row['Category'], 'repo'), levels.levels(row, 'repo')) for row in rows
  ]
  table = bench.Isg(pathlib.Path(), 'repo').tables(items)[0]
  cells = []
  printed = re.findall(r'^(\S+)\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)$', out, re.M)
  for group, (name, *numbers) in zip(records.CATEGORIES, printed, strict=True):
    for level, theirs in zip(('structure', 'image', 'block', 'holistic'), numbers):
      # Our table has no picture level for VQA, where the script prints its floor.
      ours = table.at(group, level)
      if ours is not None:
        cells.append((f'{name}, {level}', f'{ours.value:.4f}', theirs))
  tally.check(f'ISG-Bench, the script on {count} rows', cells)


def _row(number, draws):
  subtasks = [name for members in records.CATEGORIES.values() for name in members]
  row = {'id': f'{number:04d}', 'Category': draws.choice(subtasks), 'Query': [], 'Golden': []}
  kind = draws.random()
  if kind < 0.05:
    return row  # no answer
  row['output'] = [{'type': 'text', 'content': '' if kind < 0.08 else 'x'}]
  if kind < 0.12:
    return row | {'result': {'error': 'a picture'}}
  result = {'structure': draws.random() < 0.7}
  if result['structure']:
    grade = lambda: draws.choice(
      [{'Judge': draws.randint(1, 10)}] * 8 + [None, {'error': 'x'}, {'Judge': '7'}]
    )
    asked = [{'VQA_judge_Score': grade()} if draws.random() < 0.9 else {} for _ in range(draws.randint(0, 4))]
    yes = lambda: draws.choice([{'Judge': 'Yes'}, {'Judge': 'no'}, {'Judge': 'YES'}, None, {'error': 'x'}])
    seen = [{'judge': yes()} if draws.random() < 0.7 else {} for _ in range(draws.randint(0, 5))]
    result |= {'block': asked, 'image': draws.choice([seen, seen, None])}
  whole = [{'overall_score': draws.randint(1, 10)}] * 6 + [None, {'error': 'x'}]
  return row | {'result': result | {'holistic': draws.choice(whole)}}


def check_prompts(tally):
  """The references' own prompts are found where they stand."""
  found = []
  for flag, read in ((OPENING, official.opening), (ISG, official.isg), (LLMI, official.llmi_bench)):
    if flag.value:
      found.append((read.__name__, bool(read(flag.value)), True))
  if LLMI.value:
    found.append(('in_domain', bool(official.in_domain(LLMI.value)), True))
  if found:
    tally.check('Official prompts', found)


def main(_):
  tally = Tally()
  check_isg_averages(tally)
  if OPENING.value:
    folder = pathlib.Path(OPENING.value)
    check_scores(tally, folder)
    check_arena(tally, folder)
    check_records(tally, folder)
  if ISG.value:
    check_isg_script(tally, pathlib.Path(ISG.value))
  check_prompts(tally)
  sys.exit(tally.failed > 0)


if __name__ == '__main__':
  app.run(main)
