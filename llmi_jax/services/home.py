"""Where a user's runs keep what they share."""

import os
import pathlib


def cache(name: str) -> pathlib.Path:
  """Folder of what is worth keeping and cheap to lose: under `XDG_CACHE_HOME`, by default `~/.cache`."""
  told = pathlib.Path(os.environ.get('XDG_CACHE_HOME', ''))
  root = told if told.is_absolute() else pathlib.Path.home() / '.cache'
  return root / 'llmi_jax' / name
