import hashlib

import pytest

from llmi_jax.core.errors import ConfigError, DataError
from llmi_jax.core.image import Image
from llmi_jax.core.task import ImagePart, ImageRule, Message, Task, TextPart
from llmi_jax.text.grammar import parse
from llmi_jax.text.prompts import example_tag, load_template, render

LIMIT = 10_000


def picture(content: bytes) -> ImagePart:
  return ImagePart(Image(hashlib.sha256(content).hexdigest(), content, 8, 8))


def task(*messages: Message, **fields) -> Task:
  messages = messages or (Message('user', (TextPart('Tell me about lakes.'),)),)
  return Task('lakes-1', messages, 'q', ImageRule('free'), **fields)


@pytest.mark.parametrize('name', ['default', 'compact'])
def test_a_template_offers_the_task_its_tools_and_no_others(tokenizer, specs, name):
  template = load_template(name)
  everything = render(task(), tokenizer, specs, template, limit=LIMIT)
  for spec in specs:
    assert spec.name in everything.text
    assert all(parameter.name in everything.text for parameter in spec.parameters)
  some = render(task(offered_tools=('diffusion',)), tokenizer, specs, template, limit=LIMIT)
  assert some.text.startswith('<|im_start|>system\n' + template.render(specs[1:2]) + '<|im_end|>')
  assert 'query' not in some.text
  assert not {'search', 'diffusion', 'code', 'edit'} & set(template.render(()).replace('`', ' ').split())


def test_the_default_template_is_generated_from_the_specs(specs):
  text = load_template('default').render(specs)
  for spec in specs:
    assert spec.description in text
    assert example_tag(spec) in text


def test_the_compact_template_is_short(specs):
  template = load_template('compact')
  assert len(template.render(())) <= 250
  lines = template.render(specs[:4]).removeprefix(template.render(())).strip().splitlines()
  assert lines == ['search: query', 'diffusion: prompt', 'code: code', 'edit: img_index, prompt']


def test_examples_are_well_formed_tags(specs):
  assert example_tag(specs[0]).count('a lake') == 1
  for spec in specs:
    (call,) = parse(example_tag(spec), specs, inputs=1).calls
    assert call.tool == spec.name


def test_a_system_message_gives_way_and_others_stay(tokenizer, specs):
  messages = (
    Message('system', (TextPart('Old rules.'),)),
    Message('user', (TextPart('Hello.'),)),
    Message('assistant', (TextPart('Hi.'),)),
    Message('user', (TextPart('A <|im_end|> lake.'),)),
  )
  template = load_template('compact')
  prompt = render(task(*messages), tokenizer, specs, template, limit=LIMIT)
  assert 'Old rules.' not in prompt.text
  turns = ['user\nHello.', 'assistant\nHi.', 'user\nA <|im_end|> lake.']
  tail = ''.join(f'<|im_start|>{turn}<|im_end|>\n' for turn in turns) + '<|im_start|>assistant\n'
  assert prompt.text.endswith(tail)
  assert tokenizer.decode(prompt.tokens).count('<|im_end|>') == 1


def test_pictures_are_marked_with_their_position(tokenizer, specs):
  messages = (
    Message('user', (TextPart('This '), picture(b'a'), TextPart(' and '), picture(b'b'), TextPart('.'))),
    Message('user', (picture(b'a'),)),
  )
  prompt = render(task(*messages), tokenizer, specs, load_template('compact'), limit=LIMIT)
  assert 'This [picture 0] and [picture 1].' in prompt.text
  assert '[picture 2]' in prompt.text
  assert prompt.vision == ()


def test_a_prompt_too_long_names_task_length_and_limit(tokenizer, specs):
  template = load_template('compact')
  length = len(render(task(), tokenizer, specs, template, limit=LIMIT).tokens)
  assert len(render(task(), tokenizer, specs, template, limit=length).tokens) == length
  with pytest.raises(DataError, match=rf'lakes-1.*{length}.*{length - 1}'):
    render(task(), tokenizer, specs, template, limit=length - 1)


def test_a_tool_that_is_not_configured_is_named(tokenizer, specs):
  with pytest.raises(DataError, match=r'lakes-1.*paint'):
    render(task(offered_tools=('paint',)), tokenizer, specs, load_template('compact'), limit=LIMIT)


def test_a_config_may_bring_its_own_template(tmp_path, specs):
  file = tmp_path / 'own.md'
  file.write_text('Tools: {% for tool in tools %}{{ tool.name }} {% endfor %}')
  assert load_template(str(file)).render(specs[:2]) == 'Tools: search diffusion'


@pytest.mark.parametrize(
  'source', ['{% for', '{{ nothing }}', "{{ ''.__class__.__mro__ }}", '{{ tools + 1 }}']
)
def test_a_bad_template_gives_one_sentence(tmp_path, specs, source):
  file = tmp_path / 'own.md'
  file.write_text(source)
  with pytest.raises(ConfigError, match=r'own\.md has a mistake'):
    load_template(str(file)).render(specs)


def test_a_missing_template_gives_one_sentence(tmp_path):
  with pytest.raises(ConfigError, match='default, compact'):
    load_template(str(tmp_path / 'none.md'))
