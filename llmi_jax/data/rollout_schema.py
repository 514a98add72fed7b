"""The columns of a rollout file; `docs/rollouts.md` tells them to people.

Texts are UTF-8; a lone surrogate, which a tag's JSON can spell, stands as its escape. `params` and
`executed` are JSON objects, since tools differ in their parameters. A reader refuses files of another
`VERSION`.
"""

import dataclasses
import functools
import json
from typing import Any

import pyarrow as pa

from llmi_jax.core.outcome import Attribution

VERSION = 2
KEY = b'llmi_jax.rollouts'  # of the version, in the file's metadata

_PICTURE = pa.struct(
  {
    'sha256': pa.string(),
    'path': pa.string(),
    'width': pa.int32(),
    'height': pa.int32(),
    'source': pa.string(),
  }
)
_RESULT = pa.struct(
  {
    'status': pa.string(),
    'fault': pa.string(),
    'tool': pa.string(),
    'provider': pa.string(),
    'model': pa.string(),
    'seed': pa.int64(),
    'variant': pa.int32(),
    'executed': pa.string(),
    'error': pa.string(),
    'cost': pa.float64(),
    'seconds': pa.float64(),
    'attempts': pa.int32(),
    'candidates': pa.int32(),
    'caption': pa.string(),
    'attribution': pa.struct({f.name: pa.string() for f in dataclasses.fields(Attribution)}),
  }
)
_PIECE = pa.struct(
  {
    'kind': pa.string(),
    'text': pa.string(),
    'raw': pa.string(),
    'position': pa.int32(),
    'tool': pa.string(),
    'description': pa.string(),
    'params': pa.string(),
    'reason': pa.string(),
    'picture': _PICTURE,
    'result': _RESULT,
  }
)
_VERDICT = pa.struct(
  {
    'judge': pa.string(),
    'status': pa.string(),
    'scores': pa.list_(
      pa.struct({'name': pa.string(), 'value': pa.float64(), 'scale': pa.string(), 'note': pa.string()})
    ),
    'justification': pa.string(),
    'reason': pa.string(),
    'model': pa.string(),
    'prompt_hash': pa.string(),
    'vote': pa.int32(),
    'seconds': pa.float64(),
    'tokens': pa.int32(),
    'raw': pa.string(),
  }
)
_PART = pa.struct(
  {
    'name': pa.string(),
    'value': pa.float64(),
    'weight': pa.float64(),
    'gate': pa.string(),
    'note': pa.string(),
  }
)
_TERM = pa.struct({'name': pa.string(), 'value': pa.float64(), 'note': pa.string()})
_IMAGE = pa.struct({'bytes': pa.binary(), 'path': pa.string()})
_TIMING = pa.struct({'name': pa.string(), 'seconds': pa.float64()})


def _field(name: str, type: pa.DataType, meaning: str) -> pa.Field:
  return pa.field(name, type, metadata={'description': meaning})


SCHEMA = pa.schema(
  [
    _field('run', pa.string(), "the run's name, which is its folder's"),
    _field('id', pa.string(), 'step/task/sample; with the run before it, the name of a rollout everywhere'),
    _field('step', pa.int64(), 'training step, or the step of the policy that was evaluated'),
    _field('task', pa.string(), 'id of the task'),
    _field('sample', pa.int32(), 'index among the samples of the task in this step'),
    _field('split', pa.string(), 'split of the task'),
    _field('question', pa.string(), 'what judges are told was asked'),
    _field('image_num', pa.int32(), 'image rule: -1 none, 0 free, 99 at least one, n exactly n'),
    _field('required_tools', pa.list_(pa.string()), 'tools that a right answer uses'),
    _field('cue', pa.string(), 'whether the request names its tools (explicit) or implies them'),
    _field('category', pa.list_(pa.string()), 'from coarse to fine'),
    _field('request', pa.list_(_PIECE), 'what the task asks, texts and pictures in order'),
    _field('prompt', pa.string(), 'the text that was tokenized'),
    _field('completion', pa.string(), 'the decoded response'),
    _field('answer', pa.list_(_PIECE), 'text, thoughts, pictures and gaps in order; params are JSON'),
    _field('verdicts', pa.list_(_VERDICT), 'replies of the judges'),
    _field('parts', pa.list_(_PART), 'the reward is the sum of weight * value * value of the gate part'),
    _field('diagnostics', pa.list_(_TERM), 'numbers that are logged and never rewarded'),
    _field('reward', pa.float64(), 'null where the sample is unscorable'),
    _field('advantage', pa.float64(), '0 where unscorable or not trained on'),
    _field('finish', pa.string(), 'stop, length or cancelled'),
    _field('tokens', pa.list_(pa.int32()), 'token ids as sampled, the stop token included'),
    _field('mask', pa.list_(pa.bool_()), 'false on forced tokens'),
    _field('logp_sampled', pa.list_(pa.float32()), 'under the sampling distribution'),
    _field('logp_full', pa.list_(pa.float32()), 'at temperature 1 over the full vocabulary'),
    _field('timings', pa.list_(_TIMING), 'seconds by kind'),
    _field('origin', pa.string(), 'what wrote the answer'),
    _field('images', pa.list_(_IMAGE), 'distinct pictures of request and answer, in order'),
  ],
  metadata={KEY: str(VERSION).encode()},
)
DERIVED = ('images',)  # not in the record: made from others when a file is written
REWARD = 'reward_'  # before a part's name: the column of its values


@functools.cache
def with_rewards(names: tuple[str, ...]) -> pa.Schema:
  """The schema of a file whose rewards have these parts: a column for each, as TRL has one per reward.

  Its metadata tells the `datasets` library that `images` are pictures.
  """
  schema = SCHEMA
  for name in names:
    schema = schema.append(_field(REWARD + name, pa.float64(), f'value of the part {name}; null if missing'))
  features = {field.name: _feature(field.type) for field in schema}
  told = json.dumps({'info': {'features': features}})
  return schema.with_metadata({**(SCHEMA.metadata or {}), b'huggingface': told.encode()})


def _feature(kind: pa.DataType) -> Any:
  """A type in the words of the `datasets` library."""
  if kind == _IMAGE:
    return {'_type': 'Image'}
  if isinstance(kind, pa.ListType):
    return [_feature(kind.value_type)]
  if isinstance(kind, pa.StructType):
    return {field.name: _feature(field.type) for field in kind}
  name = {'double': 'float64', 'float': 'float32'}.get(str(kind), str(kind))
  return {'dtype': name, '_type': 'Value'}
