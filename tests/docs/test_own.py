"""The worked examples of the docs do as they stand what the docs say."""

import asyncio
import importlib.util
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from llmi_jax import front, judging, rescore, rewarding
from llmi_jax.core.answer import Answer, Prose
from llmi_jax.core.errors import ConfigError
from llmi_jax.data.builtin import generate
from llmi_jax.judges import own as judges
from llmi_jax.models import decoder, registry
from llmi_jax.rewards import own as terms
from llmi_jax.rollout.episode import Place
from llmi_jax.weights import save
from llmi_jax.weights.load import load_pretrained

DOCS = pathlib.Path(__file__).parents[2] / 'docs'
TERM, JUDGE = str(DOCS / 'own_term' / 'brevity.py'), str(DOCS / 'own_judge' / 'plain_words.py')
CONFIG = str(DOCS.parent / 'configs' / 'grpo_tiny.py')


def answer(words):
  return Answer('t', (Prose(' '.join(['word'] * words)),))


@pytest.fixture
def task():
  return generate.tasks('test')[0]


def test_a_term_of_ones_own_enters_the_reward(task):
  config = front.read(CONFIG, [f"--config.reward.own=(('{TERM}', 0.5),)", '--config.reward.preset=paper'])
  chosen = rewarding.reward(config.reward)
  assert chosen.weights == {'rule': 0.2, 'llm': 0.5, 'mllm': 0.3, 'brevity': 0.5}
  values = [
    rewarding.parts.reward_parts(task, answer(n), chosen.form, tuple(chosen.extra), chosen.own).extra[0].value
    for n in (1, 30, 45, 60, 99)
  ]
  assert values == [1, 1, 0.5, 0, 0]


def test_its_mistakes_are_told(tmp_path, task):
  (tmp_path / 'five.py').write_text("def get_term(): return 'five', lambda task, answer: (5.0, '')")
  with pytest.raises(ConfigError, match=r'five of .*five.py is 5.0 for task'):
    terms.load(str(tmp_path / 'five.py'))[1](task, answer(1))
  (tmp_path / 'ours.py').write_text("def get_term(): return 'hygiene', lambda task, answer: (1.0, '')")
  for value, words in (
    (f"('{TERM}', 0.1)", 'each entry is a file and a weight'),
    ("(('a.py', 1),)", 'a.py does not'),
  ):
    with pytest.raises(ConfigError, match=words):
      rewarding.reward(front.read(CONFIG, [f'--config.reward.own={value}']).reward)
  with pytest.raises(ConfigError, match="named 'hygiene', as one of ours"):
    rewarding.reward(front.read(CONFIG, [f"--config.reward.own=(('{tmp_path}/ours.py', 1),)"]).reward)


def test_a_judge_of_ones_own_is_asked(task):
  async def main():
    config = front.read(CONFIG, [f'--config.reward.judges={JUDGE}'])
    async with judging.bench(config.reward, None, None) as bench:
      return [await ask(task, answer(4), Place(0, 'train', 0)) for ask in bench.judges]

  text, pictures = asyncio.run(main())
  assert (text['text'].value, text['tag'].value) == (5, 1) and text.justification.startswith('4.0 letters')
  assert pictures.status == 'not_applicable'


def test_a_file_without_judges_is_told(tmp_path):
  for text in ('def get_judges(): return 7', 'def get_judges(): return [7]'):
    (tmp_path / 'none.py').write_text(text)
    with pytest.raises(ConfigError, match='list of judges'):
      judges.load(str(tmp_path / 'none.py'))


def test_a_backbone_of_ones_own_has_the_logits_of_the_original(tmp_path, monkeypatch):
  torch = pytest.importorskip('torch')
  import transformers

  spec = importlib.util.spec_from_file_location('llama', DOCS / 'own_backbone' / 'llama.py')
  llama = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(llama)
  line = registry.Architecture(llama.read, llama.write)
  monkeypatch.setitem(registry.ARCHITECTURES, llama.ARCHITECTURE, line)
  torch.manual_seed(0)
  original = transformers.LlamaForCausalLM(
    transformers.LlamaConfig(
      vocab_size=160, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
      num_key_value_heads=2, max_position_embeddings=64, bos_token_id=None, eos_token_id=1,
    )
  ).eval()  # fmt: skip
  original.save_pretrained(tmp_path / 'hf')
  model, config = load_pretrained(tmp_path / 'hf')
  tokens = np.random.default_rng(0).integers(0, 160, (2, 12)).astype(np.int32)
  places = jnp.broadcast_to(jnp.arange(12, dtype=jnp.int32), (2, 12))
  hidden = decoder.forward(model, jnp.asarray(tokens), places, jnp.full(2, 12, jnp.int32), config=config)[0]
  with torch.no_grad():
    wanted = original(torch.from_numpy(tokens).long()).logits.numpy()
  np.testing.assert_allclose(decoder.unembed(model, hidden), wanted, atol=1e-5)
  save.save_pretrained(model, config, tmp_path / 'ours', None, dtype='float32')
  again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / 'ours').eval()
  with torch.no_grad():
    np.testing.assert_allclose(again(torch.from_numpy(tokens).long()).logits.numpy(), wanted, atol=1e-6)


def test_a_stored_term_is_weighed_anew_and_an_absent_one_named(task):
  chosen = rewarding.reward(front.read(CONFIG, [f"--config.reward.own=(('{TERM}', 0.5),)"]).reward)
  with pytest.raises(rescore.DataError, match='without the term brevity'):
    list(rescore.recompute([rescore.Rollout('0/t/0', 0, 't', 0)], chosen))
