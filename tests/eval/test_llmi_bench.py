"""LLMI-Bench: criteria, readings and totals in both modes, and tools under two names."""

import asyncio
import json

import pytest

from llmi_jax.core.answer import Answer, Gap, Picture, Prose
from llmi_jax.core.document import Document, ToolCall
from llmi_jax.core.outcome import Candidate, ToolOutcome
from llmi_jax.core.task import ImagePart, TextPart
from llmi_jax.eval import tools
from llmi_jax.eval.calls import Said
from llmi_jax.eval.llmi_bench import bench, records
from llmi_jax.eval.llmi_bench.bench import LlmiBench
from llmi_jax.eval.official import LlmiBench as Official
from llmi_jax.eval.record import Answered, Fault
from llmi_jax.judges.verdict_form import Unreadable
from tests.doubles.web import picture
from tests.eval.running import EXAMPLES, made

PATH = EXAMPLES / 'llmi_bench' / 'records.json'


def read(mode='fixed', path=PATH):
  return list(records.read(path, mode))


def judged(record, mode, grades, answer=None):
  benchmark = LlmiBench(PATH, mode)
  answered = Answered((answer or Answer(record.id, (Prose('x'),)),))
  said = {
    call.name: Said(
      call.name,
      {} if (g := grades.get(call.name)) is None else {'score': float(g)},
      missing='' if g is not None else 'deadline: x',
    )
    for call in benchmark.plan(record, answered)
  }
  return asyncio.run(benchmark.score(record, answered, said))


def test_examples_are_whole():
  found = read()
  assert len(found) == 8 and {r.group for r in found} == {'text only', 'with pictures'}
  assert [len(r.task.input_images) for r in found] == [0, 0, 0, 0, 0, 1, 2, 1]


def test_pictures_stand_at_their_marks_or_first():
  kinds = [[type(p) for p in r.task.messages[0].content] for r in read()[5:]]
  assert kinds == [
    [TextPart, ImagePart],
    [ImagePart, ImagePart, TextPart],
    [TextPart, ImagePart, TextPart],
  ]


def test_gaps_among_criteria_close_up_in_repo():
  assert [list(read(mode)[1].task.payload.criteria) for mode in ('fixed', 'repo')] == [
    ['r1', 'r2', 'r4'],
    ['r1', 'r2', 'r3'],
  ]


def test_a_missing_grade_is_no_zero():
  record = read()[1]
  item = judged(record, 'fixed', {'r1': 2, 'r2': 1, 'r4': None})
  assert item['share'].value == 3 / 4 and item['r4'].kind == 'missing'
  assert item.row['scores'] == {'r1': 2, 'r2': 1, 'r4': -1}
  nothing = judged(record, 'fixed', {})
  assert nothing['share'].value is None and nothing['share'].kind == 'missing'


def test_the_two_totals_differ_where_samples_have_different_counts():
  found = read()
  items = [
    judged(found[0], 'fixed', {'r1': 2, 'r2': 2}),
    judged(found[1], 'fixed', {'r1': 0, 'r2': 0, 'r4': 0}),
  ]
  table = LlmiBench(PATH).tables(items)[0]
  assert table.at('all', 'mean of samples').value == pytest.approx(5.0)
  assert table.at('all', 'all criteria together').value == pytest.approx(10 * 4 / 10)
  assert 'inferred' in table.notes[0]


@pytest.mark.parametrize(
  ('value', 'repo', 'fixed'),
  [(2, 2.0, 2.0), (1.9, 1.0, None), (True, 1.0, None), ('2', 2.0, None), (3, None, None), (None, None, None)],
)
def test_what_repo_truncates_fixed_refuses(value, repo, fixed):
  for reader, wanted in ((bench._lenient, repo), (bench._strict, fixed)):
    if wanted is None:
      with pytest.raises(Unreadable):
        reader({'score': value})
    else:
      assert reader({'score': value}).values == {'score': wanted}


def test_unmarked_pictures_shift_those_of_the_answer_in_repo():
  record = read('repo')[6]
  made_here = picture()
  answer = Answer(record.id, (Prose('Before. '), Picture(made_here, 2), Prose(' After.')))
  (call, *_) = LlmiBench(PATH, 'repo').plan(record, Answered((answer,)))
  parts = call.request.messages[1].content
  shown = [p.image.sha256 for p in parts if isinstance(p, ImagePart)]
  given = [image.sha256 for image in record.task.input_images]
  assert shown == given  # two places, both taken by the request's; the answer's own picture is lost
  (ours, *_) = LlmiBench(PATH).plan(record, Answered((answer,)))
  shown = [p.image.sha256 for p in ours.request.messages[1].content if isinstance(p, ImagePart)]
  assert shown == [*given, made_here.sha256]


def test_a_failed_call_is_a_mark_in_repo_and_worded_in_fixed():
  record = read()[0]
  answer = Answer(record.id, (Prose('x'), Gap('No picture could be made.', 0)))
  texts = [
    ''.join(
      p.text for p in LlmiBench(PATH, mode).plan(record, Answered((answer,)))[0].request.messages[1].content
    )
    for mode in ('repo', 'fixed')
  ]
  assert '<fail_to_generate_image>' in texts[0] and 'No picture could be made.' in texts[1]


def outcome(tool, ok):
  if ok:
    return ToolOutcome('ok', 'none', (Candidate(picture()),), tool=tool)
  return ToolOutcome('failed', 'policy', tool=tool, error='no')


def written(record, *calls):
  parts = []
  for position, (tool, ok) in enumerate(calls):
    call = ToolCall('<imgen>', 0, position, tool, '', {})
    made_ = outcome(tool, ok)
    parts.append(Picture(picture(), position, call, made_) if ok else Gap('no', position, call, made_))
  return Answer(record.id, tuple(parts), Document(()))


def test_success_and_right_choice_are_two_names():
  record = read()[1]  # wants code
  wrong = judged(record, 'fixed', {'r1': 2}, written(record, ('search', True)))
  assert wrong[bench.ACCURACY].value == 0.0 and wrong.row['tools'] == {'search': (1, 1)}
  right = judged(record, 'fixed', {'r1': 2}, written(record, ('code', False), ('code', True)))
  assert right[bench.ACCURACY].value == 1.0
  table = LlmiBench(PATH).tables([wrong, right])[1]
  assert table.at('code', 'invocation success').value == 0.5
  assert table.at('all tools', 'invocation success').value == pytest.approx(2 / 3)
  assert table.at('all tools', bench.ACCURACY).value == 0.5


def test_no_call_at_all_is_success_in_repo_alone():
  assert tools.figures([{}, {}], 'repo')[-1].value == 1.0
  assert tools.figures([{}, {}], 'fixed')[-1].value is None
  assert tools.figures([None], 'repo')[-1].value is None


@pytest.mark.parametrize(
  ('row', 'said'),
  [
    ({'r1': 'x'}, 'no text as its prompt'),
    ({'prompt': 'x'}, 'no criteria'),
    ({'prompt': 'x', 'r1': 5}, 'no criteria'),
    ({'prompt': 'x', 'r1': 'y', 'images': 'a.png'}, 'images that is no list'),
    ({'prompt': 'x', 'r1': 'y', 'images': ['none.png']}, 'is not in'),
    (['x'], 'no JSON object'),
  ],
)
def test_a_bad_record_is_named_and_the_rest_read(tmp_path, row, said):
  good = {'prompt': 'x', 'r1': 'y'}
  path = tmp_path / 'records.json'
  path.write_text('[\n' + ',\n'.join(map(json.dumps, (good, row, good))) + '\n]')
  found = read(path=path)
  assert isinstance(found[1], Fault) and said in found[1].words and found[1].where.endswith(':3')
  assert [found[0].id, found[2].id] == ['001', '003']


def test_official_prompts_take_their_places():
  words = Official('system', '{question} | {answer_text} | {criterion} {{json}}')
  for mode in ('repo', 'fixed'):
    benchmark, answers = made('llmi_bench', mode, official=words)
    record = read(mode)[5]
    (call, *_) = benchmark.plan(record, asyncio.run(answers(record)))
    parts = call.request.messages[1].content
    text = ''.join(p.text for p in parts if isinstance(p, TextPart))
    assert text.startswith('Paint this house blue') and text.endswith('{json}') and '<image>' not in text
    assert sum(isinstance(p, ImagePart) for p in parts) == 2


def test_results_have_the_references_form(tmp_path):
  item = judged(read()[0], 'fixed', {'r1': 2, 'r2': 0})
  LlmiBench(PATH).finish(tmp_path, [item])
  (row,) = json.loads((tmp_path / bench.RESULTS).read_text())
  assert list(row) == ['sample_index', 'prompt', 'answer', 'scores', 'justifications']
  assert row['sample_index'] == 1 and row['scores'] == {'r1': 2, 'r2': 0}
