"""What is told of samples survives the way between processes, and adds up as if one had made them all."""

import dataclasses
import json
import math

import pytest

from llmi_jax.rewards import audit
from llmi_jax.rollout import statistics
from llmi_jax.rollout.facts import Facts, Outcome, Term
from llmi_jax.services import records

GOOD = Facts(
  'a', 0.75, 0.5, (12, 3), False, 2, 3, -1, 1.0, 0.0,
  (Term('rule', 1.0), Term('llm', 0.5), Term('mllm', None), Term('hygiene', 0.25)),
  (Outcome('search', 'ok'), Outcome('code', 'failed')), (), ('llm/scored', 'mllm/missing/timeout'),
)  # fmt: skip
LOST = dataclasses.replace(
  GOOD, task='b', reward=None, advantage=0.0, lengths=(20,), truncated=True, terms=(), lost=('tool code',)
)
SEEN = audit.Sample(
  3, 'a', 'q?', 'Prose \u202e', '<imgen>', 1, ('search',), (), ('f' * 64,), None,
  {'rule': None}, 0.5, {'llm': (0.5, 1.0)},
)  # fmt: skip


def sent(record):
  return records.decode(type(record), json.loads(json.dumps(records.encode(record))), lambda sha256: b'')


@pytest.mark.parametrize('record', [GOOD, LOST, SEEN])
def test_records_arrive_as_they_were_sent(record):
  assert sent(record) == record


def test_figures_are_those_of_all_samples():
  found = statistics.step_scalars([GOOD, GOOD, LOST], ('search', 'edit'))
  assert found['reward/mean'] == 0.75 and found['rollout/unscorable'] == 1
  assert found['rollout/tokens'] == 50 and found['rollout/length_mean'] == 10
  assert found['rollout/truncated'] == found['rollout/zero_advantage'] == pytest.approx(1 / 3)
  assert found['rollout/malformed_rate'] == pytest.approx(1 / 3)
  assert found['reward/hygiene'] == 0.25 and math.isnan(found['reward/mllm'])
  assert (found['tools/search/calls'], found['tools/edit/calls']) == (3, 0)
  assert found['unscorable/tool code'] == 1 and found['judge/mllm/missing/timeout'] == 3
  assert statistics.evaluation([GOOD, LOST])['n_tasks'] == 2


def test_counts_of_processes_are_added():
  assert statistics.joined([{'a': 1.0, 'b': 0.0}, {'a': 2.0}]) == {'a': 3.0, 'b': 0.0}
