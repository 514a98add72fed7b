"""The launcher as this process sees it: a child in its own session, a control socket, and its end."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import threading

from llmi_jax.core.errors import SandboxError

_START_SECONDS = 120.0


class Outside:
  """One launcher, started without this process's environment.

  A thread of its own starts and reaps it: the kernel kills it when that thread dies, so the thread lives just
  as long as the launcher should.
  """

  def __init__(self, command: list[str], environment: dict[str, str]):
    """Starts it; `wait` says whether it came up."""
    self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    self._errors, errors = os.pipe()
    self._process: subprocess.Popen | None = None
    self._started = threading.Event()
    self._problem = ''
    self._thread = threading.Thread(
      target=self._keep, args=(command, environment, theirs, errors), name='sandbox', daemon=True
    )
    self._thread.start()
    self._started.wait()
    theirs.close()
    os.close(errors)

  def wait(self) -> str:
    """Blocks until the launcher is ready and returns the versions of its libraries.

    Raises:
      SandboxError: it did not come up.
    """
    ready = select.select([self._control], [], [], _START_SECONDS)[0]
    message = self._control.recv(1 << 16) if ready else b''
    if not message:
      self.close()
      raise SandboxError(self._problem or f'it did not start: {self._last_words()}')
    return message.decode()

  @property
  def alive(self) -> bool:
    return self._thread.is_alive()

  def send(self, request: bytes, descriptors: list[int]):
    """Hands a job over.

    Raises:
      OSError: the launcher is gone.
    """
    socket.send_fds(self._control, [request], descriptors)

  def close(self):
    """Ends the launcher with all its jobs and waits for the end."""
    self._control.close()
    with contextlib.suppress(ProcessLookupError):
      if self._process is not None:
        os.killpg(self._process.pid, signal.SIGKILL)
    self._thread.join()

  def _keep(self, command: list[str], environment: dict[str, str], control: socket.socket, errors: int):
    try:
      self._process = subprocess.Popen(
        command,
        stdin=control.fileno(),
        stdout=errors,
        stderr=errors,
        env=environment,
        cwd='/',
        start_new_session=True,
      )
    except OSError as error:
      self._problem = f'{command[0]} cannot be started ({error.strerror})'
    self._started.set()
    if self._process is not None:
      self._process.wait()

  def _last_words(self) -> str:
    os.set_blocking(self._errors, False)
    with contextlib.suppress(BlockingIOError):
      words = os.read(self._errors, 1 << 16).decode('utf-8', 'replace').strip().splitlines()
      return words[-1][:300] if words else 'it said nothing'
    return 'it said nothing'
