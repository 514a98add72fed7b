"""The launcher as this process sees it: a child in its own session, a control socket, and its end."""

import contextlib
import os
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
    readable, errors = os.pipe()
    self._errors = open(readable, 'rb', buffering=0)  # noqa: SIM115  (closed by `close`)
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
    self._control.settimeout(_START_SECONDS)
    try:
      message = self._control.recv(1 << 16)
    except TimeoutError:
      message = b''
    self._control.setblocking(False)
    if not message:
      self.kill()
      problem = self._problem or f'it did not start: {self._last_words()}'
      self.close()
      raise SandboxError(problem)
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
    self.kill()
    self._thread.join()
    self._errors.close()

  def kill(self):
    """Ends the launcher with all its jobs."""
    if self._process is not None and self._process.poll() is None:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(self._process.pid, signal.SIGKILL)

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
    """The last line on its standard error."""
    os.set_blocking(self._errors.fileno(), False)
    lines = (self._errors.read(1 << 16) or b'').decode('utf-8', 'replace').split('\n')
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), 'it said nothing')
