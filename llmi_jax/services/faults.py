"""What goes wrong with a service: always the environment's doing, never a policy's."""

from typing import Literal

# Each is counted under its own name.
#   deadline     time was up                      connection  no connection, or it broke
#   busy         429: rate or quota               server      408 or 5xx
#   refused      400, 401, 403, 404, 422, …       garbage     a reply that is not what the protocol says
#   oversize     more bytes than are read         address     a place that must not be called
#   breaker      not asked: it failed too often just now
#   budget       not asked: its caller has nothing left to spend
Cause = Literal[
  'deadline', 'connection', 'busy', 'server', 'refused', 'garbage', 'oversize', 'address', 'breaker', 'budget'
]
_TRANSIENT = ('connection', 'busy', 'server', 'garbage', 'breaker')


class ServiceFault(Exception):
  """A call that came to nothing.

  Attributes:
    cause: the fault's name in metrics.
    status: of the HTTP reply; 0 where there was none.
    retry_after: seconds that the service asked to wait; None where it did not say.
    transient: whether trying again may help.
    attempts: tries made when it was given up.
  """

  def __init__(
    self,
    cause: Cause,
    words: str,
    *,
    status: int = 0,
    retry_after: float | None = None,
    transient: bool | None = None,
  ):
    super().__init__(words)
    self.cause: Cause = cause
    self.status = status
    self.retry_after = retry_after
    self.transient = cause in _TRANSIENT if transient is None else transient
    self.attempts = 1
