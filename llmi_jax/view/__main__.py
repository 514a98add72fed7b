"""Shows the rollouts of one or several runs in a browser, while they train or afterwards.

    python -m llmi_jax.view RUN [RUN …] [--port=8500]

RUN is a work folder. Only this machine is served. The address holds the whole state of a page and can be
kept; `http://127.0.0.1:8500/?open=RUN/STEP/TASK/SAMPLE` shows one rollout.
"""

import asyncio
import sys
import time
from collections.abc import Sequence

from absl import app, flags, logging

from llmi_jax.core.errors import LlmiError
from llmi_jax.services import ports
from llmi_jax.view.index import Index, runs

try:
  import uvicorn

  from llmi_jax.view.app import application
except ImportError as error:
  raise SystemExit(f'Error: {error}; pip install "llmi_jax[serve]".') from error

PORT = flags.DEFINE_integer('port', 8500, 'Port to listen on, of this machine alone; 0 takes any free one.')
HOST, FAILED = '127.0.0.1', 2


def main(arguments: Sequence[str]) -> None:
  """Serves until it is stopped."""
  logging.set_verbosity(logging.FATAL)
  try:
    serve(arguments[1:], PORT.value)
  except LlmiError as error:
    print(f'Error: {error}', file=sys.stderr)
    sys.exit(FAILED)
  except KeyboardInterrupt:
    print()


def serve(folders: Sequence[str], port: int) -> None:
  """The same, with everything given.

  Raises:
    ConfigError: a folder is no run, or the port is taken.
    DataError: a rollout file is broken.
  """
  found = runs(folders)
  began = time.monotonic()
  with ports.listen(port) as listening:
    index = Index(found)
    seconds = time.monotonic() - began
    print(f'{index.table.num_rows:,} rollouts of {len(found)} runs, read in {seconds:.1f} s.', flush=True)
    print(f'Serving them on http://{HOST}:{listening.getsockname()[1]}/ (Ctrl-C ends it)', flush=True)
    settings = uvicorn.Config(application(index), log_level='warning', lifespan='off', ws='none')
    asyncio.run(uvicorn.Server(settings).serve([listening]))


if __name__ == '__main__':
  app.run(main)
