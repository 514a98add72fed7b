import itertools
import json
import time

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from llmi_jax.core.document import Malformed, Text, Thought, ToolCall
from llmi_jax.core.toolspec import Parameter, ToolSpec
from llmi_jax.text import tag
from llmi_jax.text.grammar import REASONS, Parser, merge, parse

SPECS = (
  ToolSpec('search', '', (Parameter('query', 'string', ''),)),
  ToolSpec('code', '', (Parameter('code', 'string', ''),)),
  ToolSpec('edit', '', (Parameter('img_index', 'image', ''), Parameter('prompt', 'string', ''))),
  ToolSpec('frame', '', (Parameter('code', 'string', ''), Parameter('rows', 'integer', ''))),
)
GOOD = '<imgen>{"source": "search", "description": "d", "params": {"query": "q"}}</imgen>'
CODE = '<imgen>{"source": "code", "description": "d", "params": {"code": "'
PYTHON_CODE = "<imgen>{'source': 'code', 'description': 'd', 'params': {'code': '"

FRAGMENTS = [
  *(
    '<imgen>',
    '</imgen>',
    '<think>',
    '</think>',
    '<img',
    'gen>',
    '</',
    '{',
    '}',
    '[',
    ']',
    ':',
    ',',
    '"',
    "'",
  ),
  *(
    '\\',
    '\n',
    ' ',
    '```',
    '~~~',
    '`',
    '> ',
    '- ',
    '<!--',
    '"""',
    'é',
    '你',
    '🙂',
    '\ud800',
    '\0',
    '1',
    'true',
  ),
  *('"source"', '"search"', "'code'", '"description"', '"params"', '"img_index"', '"}}', "'}}", '}}</imgen>'),
  *(GOOD, CODE, PYTHON_CODE, CODE + 'print("a")"}}</imgen>', "{'a': 1}</imgen>", 'x' * 30),
]
responses = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=5)), max_size=25).map(''.join)


def call(source: str, description: str = 'd', /, **params) -> str:
  body = {'source': source, 'description': description, 'params': params}
  return f'<imgen>{json.dumps(body, ensure_ascii=False)}</imgen>'


def only(response: str, inputs: int = 0):
  """The one tag of a response that is nothing else."""
  (segment,) = parse(response, SPECS, inputs).segments
  return segment


def reason(response: str, inputs: int = 0) -> str:
  (bad,) = parse(response, SPECS, inputs).malformed
  assert bad.detail.endswith('.')
  return bad.reason


def in_chunks(response: str, cuts: list[int], inputs: int = 0):
  parser, out, last = Parser(SPECS, inputs), [], 0
  for cut in [*sorted(cut % (len(response) + 1) for cut in cuts), len(response)]:
    out += parser.feed(response[last:cut])
    last = cut
  return merge([*out, *parser.close()])


@settings(max_examples=400, deadline=None)
@given(responses, st.integers(0, 3), st.lists(st.integers(0, 2000), max_size=12))
@example('```<imgen>{}</imgen>', 0, [3, 5])
@example('<imgen>{<think></imgen>', 0, [])
def test_any_response_is_taken_apart_the_same_way_in_any_chunks(response, inputs, cuts):
  document = parse(response, SPECS, inputs)
  assert document.response == response
  assert [s.start for s in document.segments] == [0, *(s.end for s in document.segments)][
    : len(document.segments)
  ]
  assert in_chunks(response, cuts, inputs) == document.segments
  assert in_chunks(response, list(range(len(response))), inputs) == document.segments


@settings(max_examples=200, deadline=None)
@given(responses, st.integers(0, 3))
def test_positions_run_over_closed_tags_and_texts_are_merged(response, inputs):
  document = parse(response, SPECS, inputs)
  tags = [s for s in document.segments if isinstance(s, ToolCall | Malformed)]
  positions = [s.position for s in tags if s.position is not None]
  assert positions == list(range(inputs, inputs + len(positions)))
  assert all((s.position is None) == (s.reason == 'unclosed') for s in tags if isinstance(s, Malformed))
  assert all(s.reason in REASONS for s in document.malformed)
  assert all(s.raw for s in document.segments)
  kinds = [isinstance(s, Text) for s in document.segments]
  assert not any(a and b for a, b in itertools.pairwise(kinds))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40), st.text(min_size=1, max_size=60).filter(str.strip))
@example('}</imgen>', '"}}</imgen> {\n"\' \\')
@example('<think>', '<imgen>{</imgen>')
@example('', '}</imgen>' * 40)
def test_whatever_is_written_as_a_tag_is_read_back(description, query):
  segment = only(tag.write('search', description, {'query': query}))
  assert (segment.tool, segment.description, segment.params) == ('search', description, {'query': query})


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=['Cs']), max_size=40), st.text(max_size=60).filter(str.strip))
@example("it's", 'a "b" \\ }</imgen>')
def test_python_literals_are_read_as_python_reads_them(description, query):
  query = query.replace('<imgen>', '')
  description = description.replace('<imgen>', '')
  value = {'source': 'search', 'description': description, 'params': {'query': query}}
  if query.strip():
    segment = only(f'<imgen>{value!r}</imgen>')
    assert (segment.description, segment.params) == (description, {'query': query})


PROGRAM = st.text(
  st.sampled_from(['"', "'", 'x', '(', ')', ',', ' ', '=', '你', '}', '[', '#', '\n']), min_size=1
)


@settings(max_examples=400, deadline=None)
@given(PROGRAM.filter(str.strip), st.sampled_from([CODE, PYTHON_CODE]))
def test_unescaped_code_is_read_as_written_or_not_at_all(program, head):
  quote = head[-1]
  for segment in parse(f'{head}{program}{quote}}}}}</imgen>', SPECS).calls:
    assert segment.params['code'] in (program, eval_string(f'{quote}{program}{quote}'))


def eval_string(source: str) -> str | None:
  """The strict reading of a triple-quoted program, where there is one."""
  return source[3:-3] if source[:3] in ('"""', "'''") else None


@pytest.mark.parametrize(
  'program',
  [
    'print("hi")',
    'print("it\'s")',
    "plt.title('')\nplt.plot([1])",
    "d = {'a': 'b'}; print(d['a'])",
    'plt.title("销售 é 🙂")',
    'f(")',
    'x = "}</imgen>"',
  ],
)
@pytest.mark.parametrize('head', [CODE, PYTHON_CODE])
def test_code_with_unescaped_quotes_runs_as_meant(program, head):
  assert only(f'{head}{program}{head[-1]}}}}}</imgen>').params == {'code': program}


def test_escapes_in_unescaped_code_are_decoded_and_nothing_else():
  code = only(CODE + r'a = "ü你"\nb = "\\n" # é \" \t.\d 🙂 \ud83d\ude42' + '"}}</imgen>').params['code']
  assert code == 'a = "ü你"\nb = "\\n" # é " \t.\\d 🙂 🙂'


def test_repair_reaches_code_that_other_keys_follow():
  assert only(
    '<imgen>{"params": {"code": "p("x")"}, "source": "code", "description": "d"}</imgen>'
  ).params == {'code': 'p("x")'}
  framed = only(
    '<imgen>{"source": "frame", "description": "d", "params": {"rows": 2, "code": "p("x")"}}</imgen>'
  )
  assert framed.params == {'rows': 2, 'code': 'p("x")'}


def test_strict_reading_comes_before_the_repaired_one():
  # Read strictly, the code ends early and a key is too many; repaired, the code would swallow that key.
  assert reason(CODE + 'x", "note": "y"}}</imgen>') == 'extra_key'
  assert only(CODE + r'print(\"a\")' + '"}}</imgen>').params == {'code': 'print("a")'}


def test_only_a_parameter_named_code_is_repaired():
  assert (
    reason('<imgen>{"source": "search", "description": "d", "params": {"query": "a "b" c"}}</imgen>')
    == 'syntax'
  )


def test_a_tag_ends_at_the_earliest_end_that_has_a_reading():
  first, second = (
    '{"source": "search", "description": "}</imgen>", ',
    '"params": {"query": "}\n }  </imgen> {"}}',
  )
  document = parse(f'a<imgen>{first}{second} \n</imgen>}}</imgen>', SPECS)
  text, found, rest = document.segments
  assert (text.raw, rest.raw) == ('a', '}</imgen>')
  assert (found.description, found.params) == ('}</imgen>', {'query': '}\n }  </imgen> {'})


def test_a_call_comes_out_with_its_last_character_while_the_response_goes_on():
  parser = Parser(SPECS)
  assert parser.feed('See ' + GOOD[:-1]) == [Text('See ', 0)]
  (segment,) = parser.feed(GOOD[-1])
  assert isinstance(segment, ToolCall)
  (segment,) = parser.feed(CODE + 'print("a")"}}</imgen>')
  assert isinstance(segment, ToolCall)
  (segment,) = parser.feed('<imgen>[]</imgen>')
  assert isinstance(segment, Malformed)
  assert parser.close() == []


def test_a_reading_never_crosses_the_next_tag_and_the_next_good_tag_lives():
  bad, good = parse('<imgen>{"source": "search", "description": "' + GOOD, SPECS).segments
  assert (bad.reason, bad.position, good.position) == ('unclosed', None, 0)
  bad, text, good = parse('<imgen>{"a": 1</imgen> and </imgen>' + GOOD, SPECS).segments
  assert (bad.raw, bad.position, good.position) == ('<imgen>{"a": 1</imgen>', 0, 1)
  assert text.raw == ' and </imgen>'


def test_thoughts_hide_tags_and_last_to_the_end_if_unclosed():
  document = parse(f'a<think>{GOOD}</think>{GOOD}<think>b{GOOD}', SPECS)
  assert [type(s) for s in document.segments] == [Text, Thought, ToolCall, Thought]
  assert document.calls[0].position == 0


def test_no_tag_in_a_thought_runs_even_behind_an_unclosed_tag():
  bad, thought = parse(f'<imgen>{{"a": <think>{GOOD}</think>', SPECS).segments
  assert (bad.reason, type(thought)) == ('unclosed', Thought)


@pytest.mark.parametrize(
  'lookalike', ['<IMGEN>', '< imgen>', '<imgen >', '<imgen/>', '&lt;imgen>', '<imgens>']
)
def test_only_the_exact_mark_opens_a_tag(lookalike):
  assert [type(s) for s in parse(GOOD.replace('<imgen>', lookalike), SPECS).segments] == [Text]


@pytest.mark.parametrize('around', ['`{}`', '<!-- {} -->', '**{}**', '``` {} ```', '    {}', '- {}', '> {}'])
def test_inline_code_and_other_markup_are_text_around_a_tag(around):
  assert len(parse(around.format(GOOD), SPECS).calls) == 1


@pytest.mark.parametrize(
  ('before', 'after', 'fenced'),
  [
    ('```\n', '\n```', True),
    ('```json\n', '', True),
    ('~~~ ` \n', '', True),
    ('   ````\n```\n', '', True),
    ('- a\n\n  ```\n  ', '', True),
    ('> ```\n> ', '', True),
    ('> ```\n', '', False),
    ('```\ncode\n```\n', '', False),
    ('    ```\n', '', False),
    ('``\n', '', False),
    ('``` a`b\n', '', False),
    ('```py ', '\n', True),
    ('```py ', ' x ``` y\n', False),
    ('<think>\n```\n</think>\n', '', False),
  ],
)
def test_a_tag_in_a_code_fence_is_malformed_and_takes_a_position(before, after, fenced):
  document = parse(f'{before}{GOOD}{after}', SPECS)
  if fenced:
    assert [(s.reason, s.position) for s in document.malformed] == [('fenced', 0)]
  else:
    assert [s.position for s in document.calls] == [0]


def test_marks_inside_a_tag_open_no_fence():
  document = parse(call('code', code='"""\n```\n"""') + '\n' + GOOD, SPECS)
  assert len(document.calls) == 2


def edit(index: object) -> str:
  params = f'{{"img_index": {index}, "prompt": "p"}}'
  return f'<imgen>{{"source": "edit", "description": "", "params": {params}}}</imgen>'


CASES = {
  'unclosed': ['<imgen>', '<imgen>{"a": 1}', '<imgen>' + GOOD[7:-1]],
  'syntax': [
    '<imgen></imgen>',
    '<imgen>a cat</imgen>',
    '<imgen>[1]</imgen>',
    '<imgen>{1, 2}</imgen>',
    '<imgen>{"a": 1]}</imgen>',
    '<imgen>{"a": open("/etc/passwd")}</imgen>',
    '<imgen>{"a": "\\ud800"}</imgen>',
    "<imgen>{'a': 'b' 'c'}</imgen>",
    "<imgen>{'a': f'{1}'}</imgen>",
    '<imgen>{"a": ' + '[' * 5000 + ']' * 5000 + '}</imgen>',
    '<imgen>{"a": ' + '9' * 5000 + '}</imgen>',
  ],
  'ambiguous': [CODE + 'p("x")", "style": "dark"}}</imgen>'],
  'unknown_source': [call('paint', prompt='p'), call('Search', query='q'), call(' search', query='q')],
  'missing_key': ['<imgen>{}</imgen>', call('search'), GOOD.replace('"description": "d", ', '')],
  'extra_key': [call('search', query='q', n=1), GOOD.replace('"description"', '"x": 1, "description"')],
  'wrong_type': [
    *(call('search', query=value) for value in (1, None, ['q'], {'q': 1}, True)),
    *(edit(value) for value in ('true', 'True', '0.0', '"0"', 'null', 'NaN')),
    GOOD.replace('"d"', '3'),
    GOOD.replace('{"query": "q"}', '"q"'),
    GOOD.replace('"search"', '["search"]'),
  ],
  'duplicate_key': [
    GOOD.replace('"source"', '"source": "code", "source"'),
    GOOD.replace('"query"', '"query": "a", "query"'),
    GOOD.replace('"query"', "'query': 'a', 'query'"),
  ],
  'empty_value': [call('search', query=''), call('search', query=' \n'), call('code', code='\t')],
  'index_range': [edit(-1), call('frame', code='c', rows=-1)],
  'index_order': [edit(2), edit(3), edit(10**30)],
  'fenced': [f'```\n{GOOD}\n```'],
  'too_long': [
    call('search', query='q' * tag.MAX_LENGTH),
    call('search', query='}</imgen>' * tag.MAX_ENDS),
  ],
}


@pytest.mark.parametrize(
  ('code', 'response'), [(code, case) for code, cases in CASES.items() for case in cases]
)
def test_every_reason_is_given_where_it_is_due(code, response):
  assert reason(response, inputs=2) == code


def test_every_reason_has_a_case():
  assert set(CASES) == set(REASONS)


def test_limits_are_reached_before_they_are_passed():
  assert only(call('search', query='}</imgen>' * (tag.MAX_ENDS - 1))).params
  room = tag.MAX_LENGTH - len(call('search', query=''))
  assert only(call('search', query='q' * room)).params
  assert reason(call('search', query='q' * (room + 1))) == 'too_long'


def test_an_image_parameter_names_an_earlier_position():
  assert only(edit(1), inputs=2).params == {'img_index': 1, 'prompt': 'p'}
  assert len(parse(f'<imgen>x</imgen>{edit(0)}{edit(1)}', SPECS).calls) == 2
  assert reason(edit(0)) == 'index_order'


def test_an_empty_description_and_spaces_around_the_dictionary_are_fine():
  assert only('<imgen> \n' + call('search', '', query='q')[7:-8] + ' </imgen>').description == ''


@pytest.mark.parametrize(
  'unit',
  [
    '<imgen>{',
    '<imgen>{"a": "}</imgen>',
    '</imgen>',
    '<think>',
    '<',
    '\n',
    '```<imgen>{}</imgen>',
    '<imgen>{"a": ' + '[' * 20_000 + '}</imgen>',
    '<imgen>{"a": [' + '1,' * 20_000 + ']}</imgen>',
    CODE + '"' * 300 + '}</imgen>' * 16,
    CODE + '", "a": 1' * 5000 + '"}}</imgen>' * 16,
    CODE + '\\' * 20_000 + '"}}</imgen>' * 16,
    GOOD,
  ],
)
def test_time_is_linear(unit):
  response = unit * (1_000_000 // len(unit))
  started = time.process_time()
  assert parse(response, SPECS).response == response
  assert time.process_time() - started < 60


@pytest.mark.parametrize('head', ['<imgen>{"a": "', CODE])
def test_time_is_linear_in_one_endless_tag(head):
  response = head + '}</imgen>' * 500_000
  started = time.process_time()
  assert parse(response, SPECS).response == response
  assert time.process_time() - started < 60


def test_time_is_linear_character_by_character():
  response = CODE + 'x = "y"\n' * 40_000 + GOOD + '<think>' + 'x' * 100_000
  started = time.process_time()
  in_chunks(response, list(range(len(response))))
  assert time.process_time() - started < 60
