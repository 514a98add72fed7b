"""Rollout files: what goes in comes out, whole files only, and other libraries open them."""

import json
import pathlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmi_jax.core.answer import Answer, Gap, Picture, Prose
from llmi_jax.core.document import Document, Malformed, Text, Thought, ToolCall
from llmi_jax.core.errors import DataError, StorageError
from llmi_jax.core.outcome import Attribution, Candidate, ToolOutcome
from llmi_jax.core.prompt import Prompt
from llmi_jax.core.reward import RewardParts, Term
from llmi_jax.core.task import ImagePart, ImageRule, Message, Task, TextPart
from llmi_jax.core.trajectory import Trajectory, Turn
from llmi_jax.core.verdict import Score, Verdict
from llmi_jax.data import rollout, rollouts
from llmi_jax.data.rollout_schema import DERIVED, SCHEMA
from llmi_jax.services import images

WEIGHTS = {'rule': 0.2, 'llm': 0.5, 'mllm': 0.3}


def picture(shade):
  return images.from_array(np.full((6, 9, 3), shade, np.uint8), source='search:1')


def trajectory(step=3, sample=1, reward=0.8, query='a fox', task_id='fox/1'):
  raw = ['<think>hm</think>', 'A fox. ', '<imgen>{…}</imgen>', ' And ', '<imgen>{', '<imgen>[]</imgen>']
  starts = np.cumsum([0, *map(len, raw)])
  thought, text = Thought(raw[0], 0), Text(raw[1], int(starts[1]))
  call = ToolCall(raw[2], int(starts[2]), 1, 'search', 'a red fox', {'query': query})
  more = Text(raw[3], int(starts[3]))
  unclosed = Malformed(raw[4], int(starts[4]), None, 'unclosed', 'The tag has no end.')
  bad = Malformed(raw[5], int(starts[5]), 2, 'syntax', 'This is no object.')
  document = Document((thought, text, call, more, unclosed, bad), inputs=1)
  credit = Attribution('Fox', 'A. Person', 'CC0', 'https://example.org/fox')
  outcome = ToolOutcome(
    'ok',
    'none',
    (Candidate(picture(90), credit, 'a fox in snow', 2.5),),
    tool='search',
    provider='builtin',
    seed=7,
    executed=(('query', query),),
    started=10.0,
    ended=10.5,
  )
  parts = (
    Prose('A fox. '),
    Picture(picture(90), 1, call, outcome),
    Prose(' And '),
    Gap('The tag has no end.', None, unclosed),
    Gap('This is no object.', 2, bad),
  )
  verdicts = (
    Verdict('llm', 'scored', (Score('text', 4, '1-5', 'good'),), justification='It is about a fox.'),
    Verdict('mllm', 'missing', reason='The judge was down.'),
  )
  reward_parts = RewardParts(Term('rule', 1.0), Term('llm', 0.75, 'mean'), Term('mllm', None, 'lost'))
  task = Task(
    task_id,
    (
      Message('system', (TextPart('Be brief.'),)),
      Message('user', (TextPart('Show'), ImagePart(picture(10)))),
    ),
    'Show a fox.',
    ImageRule('exactly', 2),
    required_tools=('search',),
    category=('animals', 'wild'),
  )
  turn = Turn(
    Prompt(np.arange(4), 'the prompt'),
    np.array([5, 6, 7], np.int32),
    np.array([1, 1, 0], bool),
    np.array([-0.5, -1, 0], np.float32),
    np.array([-0.6, -1.1, 0], np.float32),
    'stop',
    document.response,
    document,
  )
  answer = Answer(task.id, parts, document, verdicts, reward_parts, 'runs/fox')
  return Trajectory(task, sample, (turn,), answer, step, reward, 1.25, (('decode', 0.4), ('tools', 0.5)))


def test_what_was_written_is_read(tmp_path):
  sampled = trajectory()
  expected = rollout.from_trajectory(sampled, WEIGHTS, run=tmp_path.name)
  file = rollouts.write(tmp_path, 'train', 3, [sampled], WEIGHTS)
  assert file == tmp_path / 'rollouts/train/step=3/proc=0.parquet'
  (read,) = rollouts.read(file)
  for name in expected.__dataclass_fields__:
    np.testing.assert_equal(getattr(read, name), getattr(expected, name), name)
  assert read.id == '3/fox/1/1' and read.address == f'{tmp_path.name}/3/fox/1/1'
  assert read.tokens.dtype == np.int32 and read.mask.dtype == bool and read.logp_full.dtype == np.float32


def test_an_answer_keeps_the_order_of_the_response_thoughts_included():
  flat = rollout.from_trajectory(trajectory(), WEIGHTS)
  assert [p.kind for p in flat.answer] == ['thought', 'text', 'picture', 'text', 'gap', 'gap']
  assert ''.join(p.raw or p.text for p in flat.answer) == flat.completion
  shown = flat.answer[2]
  assert json.loads(shown.params) == {'query': 'a fox'} and shown.result.seconds == 0.5
  assert [p.kind for p in flat.request] == ['text', 'picture']


def test_each_reward_part_has_its_weight_and_gate():
  parts = {p.name: p for p in rollout.from_trajectory(trajectory(), WEIGHTS).parts}
  assert (parts['mllm'].weight, parts['mllm'].gate, parts['mllm'].value) == (0.3, 'rule', None)
  assert (parts['llm'].weight, parts['llm'].gate) == (0.5, '')


def test_an_answer_without_tokens_is_flattened_too():
  sampled = trajectory()
  flat = rollout.from_answer(sampled.answer, sampled.task)
  assert len(flat.answer) == 6 and flat.tokens.size == 0
  foreign = rollout.from_answer(Answer('fox/1', sampled.answer.parts), sampled.task)
  assert [p.kind for p in foreign.answer] == ['text', 'picture', 'text', 'gap', 'gap']


def test_an_answer_that_lost_a_tag_is_refused():
  sampled = trajectory()
  answer = Answer('fox/1', sampled.answer.parts[:2], sampled.answer.document)
  with pytest.raises(ValueError, match='no part for the tag at'):
    rollout.from_answer(answer, sampled.task)


def test_unscorable_stays_null(tmp_path):
  rollouts.write(tmp_path, 'train', 0, [trajectory(reward=None)], WEIGHTS)
  (read,) = rollouts.read(tmp_path / 'rollouts')
  assert read.reward is None


def test_pictures_lie_beside_under_their_hashes_and_are_written_once(tmp_path):
  rollouts.write(tmp_path, 'train', 1, [trajectory(1), trajectory(1, 2)], WEIGHTS)
  found = sorted((tmp_path / 'images').iterdir())
  assert [f.stem for f in found] == sorted([picture(90).sha256, picture(10).sha256])
  before = [f.stat().st_mtime_ns for f in found]
  rollouts.write(tmp_path, 'eval', 1, [trajectory(1)], WEIGHTS)
  assert [f.stat().st_mtime_ns for f in found] == before
  ref = next(rollouts.read(tmp_path / 'rollouts/eval')).answer[2].picture
  assert (tmp_path / ref.path).read_bytes() == picture(90).png


def test_a_lone_surrogate_and_a_nul_are_kept_readable(tmp_path):
  rollouts.write(tmp_path, 'train', 0, [trajectory(query='\ud800\0', task_id='odd/\udfff')], WEIGHTS)
  (read,) = rollouts.read(tmp_path / 'rollouts')
  assert json.loads(read.answer[2].params) == {'query': '\ud800\0'}
  assert read.task == 'odd/\\udfff'


def test_folders_are_read_in_order_of_step_and_process(tmp_path):
  for step, process in [(10, 0), (2, 11), (2, 3)]:
    rollouts.write(tmp_path, 'train', step, [trajectory(step, process)], WEIGHTS, process=process)
  assert [r.id for r in rollouts.read(tmp_path / 'rollouts')] == ['2/fox/1/3', '2/fox/1/11', '10/fox/1/0']
  assert [r.step for r in rollouts.read(tmp_path / 'rollouts', ids=['10/fox/1/0'])] == [10]
  table = rollouts.columns(tmp_path / 'rollouts', ['step', 'reward'])
  assert table.to_pydict() == {'step': [2, 2, 10], 'reward': [0.8, 0.8, 0.8]}


def test_a_missing_folder_has_no_rollouts(tmp_path):
  assert list(rollouts.read(tmp_path / 'rollouts')) == []
  assert rollouts.columns(tmp_path, ['id']).num_rows == 0


def test_a_step_without_rows_is_a_file_too(tmp_path):
  rollouts.write(tmp_path, 'train', 1, [], WEIGHTS)
  assert list(rollouts.read(tmp_path / 'rollouts')) == []


def test_going_back_removes_later_steps_of_both_kinds(tmp_path):
  for step in (1, 2, 10):
    rollouts.write(tmp_path, 'train', step, [trajectory(step)], WEIGHTS)
    rollouts.write(tmp_path, 'eval', step, [trajectory(step)], WEIGHTS)
  torn = tmp_path / 'rollouts/train/step=2/proc=0.parquet.0.part'
  torn.write_text('what a killed run left')
  rollouts.remove_after(tmp_path, 2)
  assert not torn.exists()
  assert sorted(r.step for r in rollouts.read(tmp_path / 'rollouts')) == [1, 1, 2, 2]
  assert len(list((tmp_path / 'images').iterdir())) == 2


def test_pandas_opens_it_and_trl_columns_are_there(tmp_path):
  file = rollouts.write(tmp_path, 'train', 3, [trajectory()], WEIGHTS)
  frame = pd.read_parquet(file)
  assert {'step', 'prompt', 'completion', 'advantage'} <= set(frame.columns)
  parts = {p['name']: p for p in frame.parts[0]}
  assert parts['llm']['weight'] * parts['llm']['value'] == pytest.approx(0.375)
  assert frame.reward_llm[0] == 0.75 and np.isnan(frame.reward_mllm[0])
  shown = frame.images[0]
  assert [i['path'] for i in shown] == [f'images/{picture(s).sha256}.png' for s in (10, 90)]
  assert [i['bytes'] for i in shown] == [picture(10).png, picture(90).png]


def test_datasets_opens_it_and_decodes_its_pictures(tmp_path):
  datasets = pytest.importorskip('datasets')
  for step in (1, 2):
    rollouts.write(tmp_path, 'train', step, [trajectory(step)], WEIGHTS)
  files = [str(file) for file in rollouts.files(tmp_path / 'rollouts/train')]
  rows = datasets.Dataset.from_parquet(files, cache_dir=str(tmp_path / 'cache'))
  assert rows['step'] == [1, 2] and rows[0]['reward_llm'] == 0.75
  assert rows[1]['images'][1].size == (9, 6) and rows[1]['answer'][2]['tool'] == 'search'


def test_pictures_beyond_a_files_share_stand_by_path_alone(tmp_path, monkeypatch):
  monkeypatch.setattr(rollouts, 'EMBEDDED', len(picture(10).png))
  file = rollouts.write(tmp_path, 'train', 3, [trajectory()], WEIGHTS)
  first, second = pd.read_parquet(file).images[0]
  assert first['bytes'] and second['bytes'] is None
  assert (tmp_path / second['path']).read_bytes() == picture(90).png


def test_every_column_is_documented_and_in_the_record():
  assert all(field.metadata[b'description'] for field in SCHEMA)
  assert set(SCHEMA.names) - set(DERIVED) == set(rollout.Rollout.__dataclass_fields__)
  told = (pathlib.Path(__file__).parents[2] / 'docs' / 'rollouts.md').read_text()
  for field in SCHEMA:
    line = f'| `{field.name}` | {field.metadata[b"description"].decode()} |'
    assert line in told, line


def test_other_versions_and_broken_files_are_named(tmp_path):
  file = rollouts.write(tmp_path, 'train', 3, [trajectory()], WEIGHTS)
  pq.write_table(pq.read_table(file).replace_schema_metadata({'llmi_jax.rollouts': '99'}), file)
  with pytest.raises(DataError, match=r'proc=0\.parquet has rollouts of version 99'):
    list(rollouts.read(file))
  pq.write_table(pa.table({'a': [1]}), file)
  with pytest.raises(DataError, match='version unknown'):
    list(rollouts.read(file))
  file.write_bytes(b'PAR1 no')
  with pytest.raises(DataError, match=r'proc=0\.parquet cannot be read'):
    list(rollouts.read(file))


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
  (tmp_path / 'rollouts').write_text('in the way')
  with pytest.raises(StorageError, match=r'proc=0\.parquet cannot be written'):
    rollouts.write(tmp_path, 'train', 3, [trajectory()], WEIGHTS)
  assert not list(tmp_path.rglob('*.part'))
