"""The in-domain set: the public schemas, the released figures, and the paper's."""

import asyncio
import dataclasses

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmi_jax.core.answer import Answer, Gap, Picture, Prose
from llmi_jax.core.document import Document, ToolCall
from llmi_jax.core.outcome import Candidate, ToolOutcome
from llmi_jax.data import tasks
from llmi_jax.eval.calls import Said
from llmi_jax.eval.in_domain import InDomain
from llmi_jax.eval.official import InDomain as Official
from llmi_jax.eval.record import Answered, Fault
from llmi_jax.judges.offline import OfflineText, OfflineVisual
from llmi_jax.judges.verdict_form import Unreadable
from tests.doubles.web import picture
from tests.eval.running import EXAMPLES

TEXT, SHOWN = EXAMPLES / 'in_domain' / 'test.parquet', EXAMPLES / 'in_domain' / 'test_mm.parquet'


def read(path=TEXT):
  return list(InDomain(path).records())


def answer(record, *parts):
  return Answer(record.id, parts, Document(()))


def shown(position=0, tool='search'):
  call = ToolCall('<imgen>{}</imgen>', 0, position, tool, 'it', {'query': 'it'})
  return Picture(picture(), position, call, ToolOutcome('ok', 'none', (Candidate(picture()),), tool=tool))


def judged(record, given, mode='fixed', llm=(5.0, 5.0), mllm=(5.0, 5.0, 5.0), **fields):
  benchmark = InDomain(TEXT, mode=mode, **fields)
  names = ('text', 'tag'), ('image_quality', 'task_relevance', 'text_image_relevance')
  said = {}
  for call in benchmark.plan(record, Answered((given,))):
    grades = llm if call.name == 'llm' else mllm
    keys = names[call.name == 'mllm']
    lost = grades is None
    said[call.name] = Said(
      call.name, {} if lost else dict(zip(keys, grades)), missing='deadline: x' if lost else ''
    )
  item = asyncio.run(benchmark.score(record, Answered((given,)), said))
  return {value.name: value for value in item.values}


def test_both_public_schemas_are_read():
  assert [len(read(path)) for path in (TEXT, SHOWN)] == [8, 4]
  assert [len(r.task.input_images) for r in read(SHOWN)] == [1, 1, 2, 1]
  assert {r.task.image_rule.image_num for r in read()} == {-1, 0, 1, 2, 99}


def test_bad_rows_are_named_and_the_rest_read(tmp_path):
  rows = pq.read_table(TEXT).to_pylist()
  rows[1]['extra_info']['image_num'] = -7
  rows[2]['extra_info'] |= {'id': 'same'}
  rows[3]['extra_info'] |= {'id': 'same'}
  path = tmp_path / 'bad.parquet'
  pq.write_table(pa.Table.from_pylist(rows), path)
  found = list(InDomain(path).records())
  faults = [one for one in found if isinstance(one, Fault)]
  assert len(found) == 8 and len(faults) == 2
  assert 'row 1, column extra_info.image_num' in faults[0].words and 'row 3' in faults[1].words


def test_each_reads_what_load_reads():
  assert list(tasks.each(SHOWN, 'test')) == tasks.load(SHOWN, 'test')
  assert not list(tasks.each(TEXT, 'train'))
  assert list(tasks.each('builtin', 'test')) == tasks.load('builtin', 'test')


def test_a_full_answer_has_full_marks_in_both_modes():
  record = read()[1]  # one photograph
  given = answer(record, Prose('A tabby cat sits.'), shown())
  for mode in ('fixed', 'repo'):
    found = judged(record, given, mode)
    assert found['reward'].value == pytest.approx(1.0) and found['exact_rule'].value == 1.0
    assert found['tool_accuracy'].value == found['tool_success'].value == found['r_tool'].value == 1.0


def test_the_reward_by_hand():
  record = read()[1]
  given = answer(record, Prose('A tabby cat sits.'), shown(0), shown(1))
  found = judged(record, given, llm=(4.0, 2.0), mllm=(5.0, 4.0, 3.0))
  llm = ((1.4 * 4 + 0.6 * 2) / 2 - 1) / 4
  assert found['llm'].value == pytest.approx(llm) and found['mllm'].value == pytest.approx(0.75)
  # The exact rule is 0 and gates the visual judge; the training form would give 0.7.
  assert found['exact_rule'].value == 0.0 and found['rule'].value == pytest.approx(0.7)
  assert found['reward'].value == pytest.approx(0.5 * llm)


def test_a_lost_judge_is_the_lowest_in_repo_and_missing_in_fixed():
  record = read()[1]
  given = answer(record, Prose('A tabby cat sits.'), shown())
  repo, fixed = (judged(record, given, mode, llm=None) for mode in ('repo', 'fixed'))
  assert repo['llm'].value == 0.0 and repo['llm'].kind == 'floored'
  assert fixed['llm'].value is None and fixed['reward'].kind == 'missing'


def test_no_picture_is_full_marks_in_repo_but_shown_as_none():
  record = read()[1]
  given = answer(record, Prose('A tabby cat sits.'))
  repo, fixed = (judged(record, given, mode) for mode in ('repo', 'fixed'))
  assert repo['mllm'].value == 0.0 and repo['reward'].value == pytest.approx(0.5)
  assert fixed['mllm'].value == 0.0 and fixed['reward'].value == pytest.approx(0.5)
  free = next(r for r in read() if r.task.image_rule.image_num == 0)
  given = answer(free, Prose('Sailing is fine.'))
  assert judged(free, given, 'repo')['reward'].value == pytest.approx(1.0)
  assert judged(free, given, 'fixed')['reward'].value == pytest.approx(0.7)


def test_words_that_look_like_a_picture_are_paid_in_repo_alone():
  record = read()[1]
  given = answer(record, Prose('A tabby cat: <image>'))
  assert [judged(record, given, mode)['exact_rule'].value for mode in ('repo', 'fixed')] == [1.0, 0.0]


def test_grades_are_not_clamped_in_repo():
  record = read()[1]
  given = answer(record, Prose('A tabby cat sits.'), shown())
  repo, fixed = (judged(record, given, mode, llm=(9.0, 9.0)) for mode in ('repo', 'fixed'))
  assert repo['llm'].value == 2.0 and repo['reward'].value == pytest.approx(1.5)
  assert fixed['llm'].value is None


def test_more_than_ten_pictures_are_the_lowest_in_repo():
  free = next(r for r in read() if r.task.image_rule.image_num == 0)
  given = answer(free, Prose('Many.'), *(shown(i) for i in range(11)))
  assert judged(free, given, 'repo')['mllm'].value == 0.0
  assert judged(free, given, 'fixed')['mllm'].value == 1.0


def test_a_tool_that_the_environment_lost_leaves_the_item_out_in_fixed():
  record = read()[1]
  call = ToolCall('<imgen>{}</imgen>', 0, 0, 'search', 'it', {'query': 'it'})
  lost = ToolOutcome('unavailable', 'environment', tool='search', error='down')
  given = answer(record, Prose('A tabby cat sits.'), Gap('down', 0, call, lost))
  found = judged(record, given)
  assert found['reward'].kind == found['exact_rule'].kind == 'missing'


def test_programs_judge_without_a_call():
  record = read()[1]
  given = answer(record, Prose('A tabby cat sits.'), shown())
  benchmark = InDomain(TEXT, programs=(OfflineText(), OfflineVisual()))
  assert benchmark.plan(record, Answered((given,))) == ()
  item = asyncio.run(benchmark.score(record, Answered((given,)), {}))
  assert item['llm'].value is not None and item['mllm'].value is not None
  assert {said.name for said in item.said} == {'llm', 'mllm'}


def test_an_empty_answer_needs_no_judge():
  record = read()[1]
  found = judged(record, answer(record, Prose('...')))
  assert found['llm'].value == 0.0 and found['llm'].kind == 'scored'


@pytest.mark.parametrize(
  ('text', 'repo', 'fixed'),
  [
    ('Text: 4\nImage: 5', {'text': 4.0, 'tag': 5.0}, {'text': 4.0, 'tag': 5.0}),
    ('Text: 4', {'text': 4.0}, None),
    ('Text: 9\nImage: -1', {'text': 9.0, 'tag': -1.0}, None),
    ('nothing', {}, None),
  ],
)
def test_official_replies(text, repo, fixed):
  record = read()[1]
  given = answer(record, Prose('A tabby cat sits.'), shown())
  for mode, wanted in (('repo', repo), ('fixed', fixed)):
    benchmark = InDomain(TEXT, mode=mode, official=Official('one', 'two'))
    llm, mllm = benchmark.plan(record, Answered((given,)))
    assert (llm.name, mllm.name) == ('llm', 'mllm')
    if wanted is None:
      with pytest.raises(Unreadable):
        llm.form.read(text, True)
    else:
      assert llm.form.read(text, True).values == wanted


def test_weights_for_policies_that_see():
  record = read()[1]
  given = answer(record, Prose('A tabby cat sits.'), shown())
  found = judged(record, given, llm=(5.0, 1.0), text=1.5, tag=0.5)
  assert found['llm'].value == pytest.approx(0.75)


def test_tables_count_calls_by_tool():
  record = read()[1]
  benchmark = InDomain(TEXT, programs=(OfflineText(), OfflineVisual()))
  given = [answer(record, Prose('A cat.'), shown()), answer(record, Prose('A cat.'))]
  items = [
    dataclasses.replace(asyncio.run(benchmark.score(record, Answered((one,)), {})), id=str(i))
    for i, one in enumerate(given)
  ]
  first, second = benchmark.tables(items)
  assert first.at('all', 'exact_rule').value == 0.5 and first.at('all', 'tool_success').n == 1
  assert second.at('search', 'invocation success').n == 1


def test_nothing_is_said_of_calls_that_are_not_known():
  record = read()[0]  # wants no tool, so that any answer without calls would be right
  found = judged(record, Answer(record.id, (Prose('Leaves turn as days get short.'),)))
  assert found['tool_accuracy'].kind == found['r_tool'].kind == 'absent'
  assert found['reward'].value is not None
