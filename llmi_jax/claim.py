"""A work folder belongs to one config: who may go on in it, and what is noted of each start."""

import hashlib
import json
import os
import pathlib
import re
import sys
from typing import Any

import jax

from llmi_jax import front, wiring
from llmi_jax.core.errors import ConfigError
from llmi_jax.rollout.accord import Accord
from llmi_jax.services import files, storage
from llmi_jax.terminal import start

CONFIG = 'config.json'
# Keys that may change between parts of one run without changing what it computes: how often it is saved or
# evaluated, who is told of it, where moments wait, where its judges are and how they are reached.
_REACHED = (
  'urls|key_env|canaries|concurrency|per_minute|seconds|attempt_seconds|attempts|retry_wait|retry_share'
)
FREE = re.compile(
  r'checkpoint\.|distributed\.|mesh\.|sinks\.|eval\.every |optimizer\.offload |'
  r'reward\.cache |reward\.local\.rows |'
  rf'reward\.remote\.\w+\.({_REACHED}) '
)


def check_workdir(workdir: pathlib.Path, config: wiring.Config) -> None:
  """Refuses a folder that holds a run of another config.

  Raises:
    ConfigError: it does; the keys that differ are named.
  """
  path = workdir / CONFIG
  if not path.exists():
    return
  changed = [d for d in front.difference(config, path.read_text()) if not FREE.match(d)]
  if changed:
    raise ConfigError(
      f'{workdir} holds a run of another config ({"; ".join(changed[:3])}); '
      'choose another --workdir, or restore the values.'
    )


def claim_workdir(workdir: pathlib.Path, config: wiring.Config, accord: Accord) -> None:
  """Makes the folder this config's, and notes the start; called once everything that it names has been read.

  Raises:
    ConfigError: the processes do not share the folder.
    StorageError: it cannot be written.
  """
  path = workdir / CONFIG
  if accord.first and not path.exists():
    files.write_atomically(path, json.dumps(json.loads(config.to_json()), indent=2).encode())
  accord.wait()
  if not path.exists():
    raise ConfigError(
      f'Process {accord.process} does not see {path}, which process 0 has written; let --workdir be a folder '
      'that all processes share.'
    )
  if accord.first:
    devices = [device.device_kind for device in jax.devices()]
    note = start.note(command(), devices, (accord.process, accord.processes))
    with storage.storing(workdir / start.FILE), open(workdir / start.FILE, 'a', encoding='utf-8') as file:
      file.write(json.dumps(note) + '\n')


def command() -> list[str]:
  """What starts this process again, as a person would type it."""
  module = getattr(sys.modules.get('__main__'), '__spec__', None)
  name = getattr(module, 'name', None)
  return ['python', *(['-m', name] if name else [os.path.relpath(sys.argv[0])]), *sys.argv[1:]]


def hashed(value: Any) -> str:
  """SHA-256 of a value's JSON."""
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
