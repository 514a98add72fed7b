"""ISG-Bench: the loader's variants, the four levels, and each defect of the reference in both modes."""

import asyncio
import dataclasses
import json
import pathlib
import shutil

import pytest

from llmi_jax.core.answer import Answer, Gap, Picture, Prose
from llmi_jax.core.document import Document
from llmi_jax.core.task import ImagePart, TextPart
from llmi_jax.eval.calls import Said
from llmi_jax.eval.isg import bench, levels, questions, records
from llmi_jax.eval.isg.bench import Isg
from llmi_jax.eval.record import Answered, Fault, Judged, Record, Value
from tests.doubles.web import picture
from tests.eval.running import EXAMPLES, made

FOLDER = EXAMPLES / 'isg'
ROOT = pathlib.Path(__file__).resolve().parents[2]


def read(folder=FOLDER, mode='fixed'):
  return list(records.read(folder, mode))


def record_of(category, mode='fixed'):
  return next(r for r in read(mode=mode) if isinstance(r, Record) and r.task.category[-1] == category)


def careful(record, mode):
  return asyncio.run(made('isg', mode)[1](record))


def judged(record, mode, replies, answered=None):
  """Scores with a reply per call: values, None for a lost call, a text for one that cannot be read."""
  benchmark = Isg(FOLDER, mode)
  answered = answered or careful(record, mode)
  said = {}
  for call in benchmark.plan(record, answered):
    reply = replies(call)
    if isinstance(reply, dict):
      said[call.name] = Said(call.name, reply)
    else:
      said[call.name] = Said(call.name, missing='no_verdict: x' if reply else 'deadline: x')
  return asyncio.run(benchmark.score(record, answered, said))


def full(call):
  if call.name == 'holistic':
    return {'overall': 8.0}
  return {'judge': 'Yes'} if call.name.startswith('image') or call.name.endswith('yes') else {'judge': 7.0}


def values(item):
  return {value.name: value.value for value in item.values}


def kinds(item):
  return {value.name: value.kind for value in item.values}


def test_examples_are_whole_and_cover_every_category():
  found = read()
  assert len(found) == 8 and {record.group for record in found} == set(records.CATEGORIES)
  assert not any(record.faults for record in found)


def test_repo_leaves_out_the_last_record_as_its_default_does():
  assert [r.id for r in read(mode='repo')] == [r.id for r in read()][:-1]


def test_a_golden_answer_is_right_everywhere():
  for record in read():
    item = judged(record, 'fixed', full)
    image = None if record.group == 'VQA' else 1.0
    assert values(item) == {'structure': 1.0, 'block': 7.0, 'image': image, 'holistic': 8.0}


def test_questions_with_prerequisites_are_never_asked_in_repo():
  for mode, asked, image in (('fixed', 2, 1.0), ('repo', 1, 0.5)):
    record = record_of('Photo Variation', mode)
    plan = Isg(FOLDER, mode).plan(record, careful(record, mode))
    assert sum(call.name.startswith('image') for call in plan) == asked
    assert values(judged(record, mode, full))['image'] == image


def test_a_prerequisite_that_fails_is_a_no_for_what_presupposes_it():
  record = record_of('Photo Variation')
  plan = Isg(FOLDER).plan(record, careful(record, 'fixed'))
  assert {call.name: call.needs for call in plan if call.needs} == {'image 1': ('image 0',)}
  benchmark, answered = Isg(FOLDER), careful(record, 'fixed')
  said = {c.name: Said(c.name, full(c)) for c in plan}
  said['image 0'] = Said('image 0', {'judge': 'No'})
  said['image 1'] = Said('image 1', spared='x')
  assert values(asyncio.run(benchmark.score(record, answered, said)))['image'] == 0.0


def test_prerequisites_are_put_in_order_and_strange_ones_dropped():
  one = lambda id, *needs: records.Question('<gen_img1>', 'x', id, needs)
  found = questions._in_order([one(2, 1), one(1, 0), one(0), one(3, 99)])
  assert [q.id for q in found] == [0, 3, 1, 2] and found[1].needs == ()
  circle = questions._in_order([one(0, 1), one(1, 0)])
  assert {q.id for q in circle} == {0, 1}


def test_semantic_segmentation_vanishes_in_repo():
  for mode, group in (('repo', ''), ('fixed', 'Decomposition')):
    assert record_of('Semantic Segmentation', mode).group == group
  items = [judged(r, 'repo', full) for r in read(mode='repo')]
  table = Isg(FOLDER, 'repo').tables(items)[0]
  assert 'Decomposition' not in table.rows and '1 items of Semantic Segmentation' in ' '.join(table.notes)


def test_each_relation_is_asked_twice_in_repo():
  for mode, count in (('fixed', 1), ('repo', 2)):
    record = record_of('Attribute Transfer', mode)
    plan = Isg(FOLDER, mode).plan(record, careful(record, mode))
    assert sum(call.name.startswith('block') for call in plan) == count


def test_the_name_of_a_text_is_left_in_the_question_in_repo():
  for mode, left in (('repo', True), ('fixed', False)):
    record = record_of('visual storytelling text-image', mode)
    asker = questions.Asker(record, questions.output(careful(record, mode).answer, mode), mode, None, 0.0)
    kept = asker.relations()[0]
    assert ('<gen_text1>' in asker._worded(kept, ['We sailed out.'])) == left


def test_one_unreadable_picture_wipes_the_item_in_repo(tmp_path):
  shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
  (tmp_path / 'images' / '0000_q1.png').write_bytes(b'broken')
  record = next(r for r in read(tmp_path, 'repo') if r.id == '0000')
  item = judged(record, 'repo', full, careful(record, 'repo'))
  assert values(item) == levels.FLOORS and set(kinds(item).values()) == {'floored'}
  fault = next(one for one in read(tmp_path) if isinstance(one, Fault))
  assert fault.where.endswith(':1') and 'cannot be read' in fault.words


def test_one_lost_relation_reply():
  lose = lambda call: None if call.name == 'block 0' else full(call)
  repo, fixed = (judged(record_of('HowTo', mode), mode, lose) for mode in ('repo', 'fixed'))
  assert values(repo)['block'] == 1.0 and kinds(repo)['block'] == 'floored'
  assert values(fixed)['block'] is None and kinds(fixed)['block'] == 'missing'


def test_a_relation_reply_that_is_no_json_is_passed_over_in_repo():
  garble = lambda call: 'x' if call.name == 'block 0' else full(call)
  repo, fixed = (judged(record_of('HowTo', mode), mode, garble) for mode in ('repo', 'fixed'))
  assert values(repo)['block'] == 7.0 and values(fixed)['block'] is None


def test_a_relation_grade_that_is_a_word_drops_the_item_to_1_in_repo():
  worded = lambda call: {'judge': '7'} if call.name == 'block 0' else full(call)
  assert values(judged(record_of('HowTo', 'repo'), 'repo', worded))['block'] == 1.0


def test_a_record_without_relations_leaves_the_mean():
  for mode in ('repo', 'fixed'):
    row = {
      'output': [{'content': 'x'}],
      'result': {'structure': True, 'block': [], 'image': [], 'holistic': None},
    }
    assert levels.levels(row, mode)[1].kind == 'absent'


def test_a_record_without_picture_questions_is_0_in_repo_and_nothing_in_fixed():
  row = {'output': [{'content': 'x'}], 'result': {'structure': True, 'image': None}}
  assert levels.levels(row, 'repo')[2].value == 0.0
  assert levels.levels(row, 'fixed')[2] == Value(
    'image', None, 'absent', 'The record asks nothing about single pictures.'
  )


def test_a_text_as_overall_score_does_not_end_the_table():
  row = {'output': [{'content': 'x'}], 'result': {'structure': False, 'holistic': {'overall_score': '8'}}}
  assert levels.levels(row, 'repo')[3] == Value(
    'holistic', 1.0, 'floored', 'The judge gave no overall score.'
  )
  assert levels.levels(row, 'fixed')[3].kind == 'missing'


def test_floors_of_a_missing_answer_and_of_a_wrong_structure():
  record = record_of('HowTo')
  benchmark = Isg(FOLDER)
  absent = asyncio.run(benchmark.score(record, Answered((None,)), {}))
  assert values(absent) == levels.FLOORS and not absent.answered
  wrong = Answered((Answer(record.id, (Prose('only words'),)),))
  item = judged(record, 'fixed', full, wrong)
  assert values(item) == {'structure': 0.0, 'block': 1.0, 'image': 0.0, 'holistic': 8.0}
  assert kinds(item)['block'] == 'floored' and kinds(item)['structure'] == 'scored'
  assert [call.name for call in benchmark.plan(record, wrong)] == ['holistic']


def test_a_policys_answer_has_its_texts_merged_and_blank_ones_dropped():
  generated = Answer(
    'x',
    (Prose('a'), Gap('failed', 0), Prose('b'), Picture(picture(), 1), Prose(' \n'), Picture(picture(), 2)),
    Document(()),
  )
  for mode in ('repo', 'fixed'):
    found = questions.output(generated, mode)
    assert questions.kinds(found) == ('text', 'image', 'image') and found[0] == TextPart('ab')
  foreign = dataclasses.replace(generated, document=None)
  assert questions.kinds(questions.output(foreign, 'repo')) == (
    'text',
    'image',
    'text',
    'image',
    'text',
    'image',
  )


@pytest.mark.parametrize(
  ('change', 'said'),
  [
    (lambda d: d.pop('Golden'), 'has a Golden'),
    (lambda d: d.update(Category='none'), 'no subtask'),
    (lambda d: d.update(id=5), 'no text as its id'),
    (lambda d: d['predict'].update(image_qa=[{'image': 'x'}]), 'image question without'),
    (lambda d: d['predict'].update(block_qa={'questions': 'x'}), 'block questions'),
    (lambda d: d['Query'].append({'type': 'image', 'content': '/etc/passwd'}), 'lies outside'),
    (lambda d: d['Golden'].append({'type': 'image', 'content': 'images/none.png'}), 'is not in'),
  ],
)
def test_a_bad_record_is_named_and_the_rest_read(tmp_path, change, said):
  shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
  path = tmp_path / 'ISG-Bench.jsonl'
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  change(rows[2])
  path.write_text('\n'.join(map(json.dumps, rows)))
  found = read(tmp_path)
  faults = [one for one in found if isinstance(one, Fault)]
  assert len(found) == 8 and len(faults) == 1 and said in faults[0].words and faults[0].where.endswith(':3')


def test_a_wrong_ending_in_the_records_is_mended_and_named(tmp_path):
  shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
  (tmp_path / 'images' / '0000_q1.png').rename(tmp_path / 'images' / '0000_q1.PNG')
  found = next(r for r in read(tmp_path) if r.id == '0000')
  assert len(found.task.input_images) == 1 and 'wrong ending or case' in found.faults[0].words


def test_equal_ids_of_two_categories_are_told_apart_in_fixed(tmp_path):
  shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
  path = tmp_path / 'ISG-Bench.jsonl'
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  rows[1]['id'] = rows[0]['id']
  path.write_text('\n'.join(map(json.dumps, rows)))
  assert [r.id for r in read(tmp_path)][:2] == ['0000', '0000~Attribute Transfer']
  twice = next(one for one in read(tmp_path, 'repo') if isinstance(one, Fault))
  assert 'stands there twice' in twice.words and twice.where.endswith(':2')


# Category columns and printed averages; `origin` in the file says where from.
GOLDENS = json.loads((ROOT / 'experiments' / 'benchmarks' / 'goldens.json').read_text())


@pytest.mark.parametrize(('name', 'level', 'columns', 'printed'), GOLDENS['isg_averages'])
def test_printed_averages_follow_from_their_columns(name, level, columns, printed):
  items = [
    Judged(str(i), group, tuple(Value(n, float(x) if n == level else 0.0) for n in levels.LEVELS))
    for i, (group, x) in enumerate(zip(records.CATEGORIES, columns))
  ]
  if level == 'image':  # the reference's script prints 0 for VQA, which its README leaves out
    items.append(Judged('vqa', 'VQA', tuple(Value(n, 0.0) for n in levels.LEVELS)))
  figure = Isg(FOLDER).tables(items)[0].at('average of categories', level)
  digits = len(printed.partition('.')[2])
  assert f'{figure.value:.{digits}f}' == printed


def test_results_have_the_references_form(tmp_path):
  record = record_of('HowTo', 'repo')
  item = judged(record, 'repo', full)
  Isg(FOLDER, 'repo').finish(tmp_path, [item])
  row = json.loads((tmp_path / bench.RESULTS).read_text())
  assert row['result']['block'][0]['VQA_judge_Score'] == {'Judge': 7.0, 'Reason': ''}
  assert row['result']['image'][0]['judge']['Judge'] == 'Yes'
  assert row['result']['holistic']['overall_score'] == 8.0
  assert {part['type'] for part in row['output']} == {'text', 'image'} and 'Golden' in row
  assert levels.levels(row, 'repo') == item.values


def test_official_templates_are_filled(monkeypatch):
  from llmi_jax.eval.official import Isg as Official

  words = Official(
    'TT {requirement}|{text1}|{text2}|{question}',
    'TI {requirement}|{text}|{question}',
    'II {requirement}|{question}',
    'I {question}',
    ('one', 'two', 'three', 'four'),
    {'Score': 'ten', 'Yes_No': 'yes'},
  )
  for mode in ('fixed', 'repo'):
    record = record_of('HowTo', mode)
    plan = Isg(FOLDER, mode, official=words).plan(record, careful(record, mode))
    texts = ['|'.join(p.text for p in c.request.messages[0].content if isinstance(p, TextPart)) for c in plan]
    assert any(t.startswith('TT ten|Put it into soil.|') for t in texts)
    assert any(t.startswith('TI ten|') for t in texts) and any(t.startswith('I Is there') for t in texts)
    assert texts[-1].startswith('one') and texts[-1].endswith('four')
    assert sum(isinstance(p, ImagePart) for p in plan[-1].request.messages[0].content) == 4
