"""Answers one prompt with a trained policy and writes the document.

    python -m llmi_jax.generate --policy=RUN --prompt="Show me a tabby cat." --out=cat.html

RUN is a work folder (its newest checkpoint answers) or `builtin:tiny`. `--image` may be repeated. The ending of
`--out` decides the form: .html is one self-contained page, .md comes with a folder of pictures.
"""

import asyncio
import pathlib

import jax
from absl import flags
from ml_collections import ConfigDict

from llmi_jax import checkpoint, front, update, wiring
from llmi_jax.core.errors import CheckpointError, ConfigError, DataError
from llmi_jax.core.task import ImagePart, ImageRule, Message, Part, Task, TextPart
from llmi_jax.models import decoder
from llmi_jax.report import document
from llmi_jax.rollout.device import Device
from llmi_jax.rollout.rollout import Roller, rollout
from llmi_jax.rollout.timeline import Timeline
from llmi_jax.services import images

POLICY = flags.DEFINE_string('policy', None, 'Work folder of a run.', required=True)
PROMPT = flags.DEFINE_string('prompt', None, 'What to ask.', required=True)
IMAGE = flags.DEFINE_multi_string('image', [], 'A picture that the prompt speaks of; may be repeated.')
OUT = flags.DEFINE_string('out', 'document.html', 'File to write: .html or .md.')
SEED = flags.DEFINE_integer('seed', 0, 'Another seed, another answer.')
