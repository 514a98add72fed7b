import asyncio

import pytest

from llmi_jax.core.task import ImageRule, Task
from llmi_jax.judges.offline import OfflineText, OfflineVisual

CAT = Task(
  'cat',
  (),
  'Show a real view of a tabby cat, in one picture.',
  ImageRule('exactly', 1),
  required_tools=('search',),
  rubric=('mentions: a tabby cat', 'shows: a tabby cat'),
)
SALES = Task(
  'sales',
  (),
  'Show how bread sales of 3, 5, 8, 6 rose and fell, in one picture.',
  ImageRule('exactly', 1),
  required_tools=('code',),
  rubric=('mentions: bread sales', 'plots: 3, 5, 8, 6 as line of bread sales'),
)


def search(query='photo of a tabby cat', description='a photo of a tabby cat'):
  return (
    f'<imgen>{{"source": "search", "description": "{description}", "params": {{"query": "{query}"}}}}</imgen>'
  )


def code(written):
  return (
    '<imgen>{"source": "code", "description": "a line chart of bread sales", '
    f'"params": {{"code": "{written}"}}}}</imgen>'
  )


def scores(answer):
  return {score.name: score.value for verdict in answer.verdicts for score in verdict.scores}


def test_a_right_answer_gets_five_everywhere(answered):
  answer = answered(CAT, f'There is much to say about a tabby cat. {search()} It is worth a second look.')
  assert scores(answer) == dict.fromkeys(
    ('text', 'tag', 'image_quality', 'task_relevance', 'text_image_relevance'), 5.0
  )


def test_each_check_is_listed_with_its_points(answered):
  answer = answered(CAT, f'Here is an image of a tabby cat. {search()} It is worth a second look.')
  text, visual = answer.verdicts
  for words in (
    'names its subject 2.00 of 2.00',
    'announces a picture: Here is',
    'fitting tool 2.00 of 2.00',
  ):
    assert words in text.justification
  assert 'wanted pictures 4.00 of 4.00' in visual.justification


@pytest.mark.parametrize(
  'prose',
  [
    'Here is an image of a tabby cat:',
    'The following picture shows a tabby cat.',
    'Below is a picture of a tabby cat.',
    'I will generate an image of a tabby cat.',
    "Here's a tabby cat.",
  ],
)
def test_announcing_costs_most_of_the_text_score(answered, prose):
  assert scores(answered(CAT, f'{prose} {search()} It is worth a second look.'))['text'] <= 2.1


@pytest.mark.parametrize(
  'prose',
  ['The following week a tabby cat slept.', 'A tabby cat will draw near.', 'Pictures of a tabby cat abound.'],
)
def test_plain_prose_is_no_announcement(answered, prose):
  assert scores(answered(CAT, f'{prose} {search()} It is worth a second look.'))['text'] > 4


def test_text_climbs_with_every_subject_word(answered):
  texts = [
    scores(answered(CAT, f'There is much to say {about}. {search()} It is worth a second look.'))['text']
    for about in ('here', 'about a cat', 'about a tabby cat')
  ]
  assert texts == sorted(texts) and len(set(texts)) == 3


def test_only_tags_is_a_text_of_one(answered):
  assert scores(answered(CAT, search()))['text'] == 1


def test_repetition_and_debris_cost(answered):
  good = scores(answered(CAT, f'Few things hold the eye like a tabby cat. {search()} Done.'))['text']
  again = 'Few things hold the eye like a tabby cat. ' * 6
  assert scores(answered(CAT, f'{again}{search()} Done.'))['text'] < good
  assert (
    scores(answered(CAT, f'A tabby cat looks at us today. {search()} "params": {{"query" Done.'))['text']
    < good
  )


def test_the_weakest_tag_counts(answered):
  two = answered(
    CAT, f'We see a tabby cat. {search()} And then there is {search("photo of zzz", "zzz")} Done.'
  )
  one = answered(CAT, f'We see a tabby cat. And then there is {search("photo of zzz", "zzz")} Done.')
  assert scores(two)['tag'] <= scores(one)['tag'] < 3.5


def test_a_malformed_tag_is_a_tag_of_one(answered):
  assert scores(answered(CAT, 'We see a tabby cat. <imgen>{"source": "search"}</imgen>'))['tag'] == 1


@pytest.mark.parametrize(('number', 'tag'), [(-1, 5), (0, 5), (99, 1), (2, 1)])
def test_no_tag_is_five_only_where_the_rule_allows_it(answered, number, tag):
  task = Task(
    't', (), 'Tell me of a tabby cat.', ImageRule.from_image_num(number), rubric=('mentions: a tabby cat',)
  )
  assert scores(answered(task, 'There is much to say about a tabby cat.'))['tag'] == tag


def test_a_picture_where_none_is_wanted_is_a_bad_tag(answered):
  task = Task('t', (), 'Describe a tabby cat in words.', ImageRule('none'), rubric=('mentions: a tabby cat',))
  assert scores(answered(task, f'There is much to say about a tabby cat. {search()}'))['tag'] < 2


def test_the_wrong_tool_costs_tag_and_relevance(answered):
  answer = answered(CAT, f'There is much to say about a tabby cat. {code("plt.plot([ 1, 2])")} Done.')
  assert scores(answer)['tag'] < 2.5
  assert scores(answer)['task_relevance'] == scores(answer)['text_image_relevance'] == 1


def test_scores_climb_with_every_right_number_and_the_right_kind(answered):
  programs = ('plt.bar([ 1, 2])', 'plt.bar([ 3, 5])', 'plt.bar([ 3, 5, 8, 6])', 'plt.plot([ 3, 5, 8, 6])')
  answers = [answered(SALES, f'We turn to bread sales today. {code(p)} Done.') for p in programs]
  for name in ('tag', 'task_relevance'):
    climbing = [scores(answer)[name] for answer in answers]
    assert climbing == sorted(climbing) and len(set(climbing)) == 4
  assert climbing[-1] == 5


@pytest.mark.parametrize(
  'program',
  [
    'plt.bar(range(4), [3, 5, 8, 6])',
    'plt.figure(figsize=(9, 7)); pd.Series([3, 5, 8, 6]).plot.bar()',
    "pd.Series([3.0, 5, 8, 6]).plot(kind='bar')",
    'sns.barplot(x=list(range(4)), y=[3, 5, 8, 6])',
  ],
)
def test_other_programs_for_the_same_bars_are_as_good(answered, program):
  task = Task(
    't',
    (),
    'Show how bread sales of 3, 5, 8, 6 compare, in one picture.',
    ImageRule('exactly', 1),
    required_tools=('code',),
    rubric=('plots: 3, 5, 8, 6 as bar of bread sales',),
  )
  assert scores(answered(task, f'We turn to bread sales. {code(program)} Done.'))['task_relevance'] == 5


def test_failed_calls_lower_all_visual_scores(answered):
  whole = answered(CAT, f'We see a tabby cat. {search()} Done.')
  failed = answered(CAT, f'We see a tabby cat. {search()} A tabby cat again. {search("photo of zzz")} Done.')
  for name in ('image_quality', 'task_relevance', 'text_image_relevance'):
    assert scores(failed)[name] < scores(whole)[name]


def test_no_picture_is_not_applicable(answered):
  answer = answered(CAT, f'We see a tabby cat. {search("photo of zzz")} Done.')
  assert answer.verdicts[1].status == 'not_applicable'


def test_without_a_rubric_answers_are_compared_with_the_request(answered):
  task = Task('t', (), 'What does a tabby cat look like?', ImageRule('free'))
  good = answered(task, f'A tabby cat looks at us from close by. {search()} Its eyes are green.')
  other = answered(task, f'A red rocket stands on its pad. {search("white rocket", "a rocket")} It is tall.')
  for name in ('text', 'tag', 'task_relevance'):
    assert scores(good)[name] > scores(other)[name]
  assert scores(good)['tag'] == 5


def test_verdicts_are_equal_at_every_call_and_keep_their_vote(answered):
  answer = answered(CAT, f'We see a tabby cat. {search()} Done.')
  for judge in (OfflineText(), OfflineVisual()):
    first, second = (asyncio.run(judge.judge(CAT, answer, vote=3, seed=s)) for s in (0, 1))
    assert first == second and first.vote == 3 and first.judge == judge.name
