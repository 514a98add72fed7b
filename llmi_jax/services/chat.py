"""One client for all that speaks the OpenAI chat protocol: judges, selectors, polishers, remote policies.

    async with ChatClient(ChatSettings(('http://a/v1', 'http://b/v1'))) as chat:
      reply = await chat.complete(ChatRequest(messages, temperature=0.5))

Several base URLs share the load: a call goes to the one with the fewest calls under way whose breaker
admits it, a retry perhaps to another. Text and pictures are sent in the order of the message's parts.
"""

import asyncio
import dataclasses
import functools
import time
from types import TracebackType
from typing import Any

from llmi_jax.core.errors import ConfigError
from llmi_jax.services import completion
from llmi_jax.services.breaker import Breaker
from llmi_jax.services.completion import ChatReply, ChatRequest
from llmi_jax.services.faults import ServiceFault
from llmi_jax.services.http import Http, check
from llmi_jax.services.limits import Gate, Limit, Overdue
from llmi_jax.services.retry import Retries, Retry

MAX_REPLY_BYTES = 4 << 20
_HEALTH_SECONDS = 10.0
_MOMENT = 0.01


@dataclasses.dataclass(frozen=True)
class ChatSettings:
  """Where and how to ask.

  Attributes:
    urls: base URLs, each ending before `/chat/completions`.
    model: the model's name; empty asks `/models`, which must name the same one everywhere.
    key: sent as a bearer token, if any.
    limit: concurrency, seconds per call with its retries, calls per minute; over all URLs together.
    attempt_seconds: a single try that hangs is given up after this, so that another may follow.
    retry: how calls are repeated.
    image_pixels: larger pictures are scaled down to this many pixels.
    seed: of the jitter between tries.
    name: what messages call the service, such as `The judge`.
  """

  urls: tuple[str, ...]
  model: str = ''
  key: str = dataclasses.field(default='', repr=False)
  limit: Limit = Limit(32, 120.0)
  attempt_seconds: float = 60.0
  retry: Retry = Retry()
  image_pixels: int = 784_000
  seed: int = 0
  name: str = 'The chat service'

  def __post_init__(self):
    if not self.urls:
      raise ConfigError(f'{self.name} has no address; give at least one base URL.')
    for url in self.urls:
      if not url.startswith(('http://', 'https://')):
        raise ConfigError(f'{url!r} is no base URL; it must look like http://127.0.0.1:8000/v1.')
    if not self.attempt_seconds > 0 or self.image_pixels < 1:
      raise ConfigError(f'attempt_seconds and image_pixels of {self.name} must be above 0.')


class _Endpoint:
  """One base URL and how it is doing."""

  def __init__(self, url: str):
    self.url = url.rstrip('/')
    self.breaker = Breaker()
    self.busy = 0


class ChatClient:
  """Asks. Used as an asynchronous context manager, within one event loop.

  Attributes:
    model: the model's name, once entered.
    settings: as given.
  """

  def __init__(self, settings: ChatSettings):
    self.settings = settings
    self.model = settings.model
    self._endpoints = [_Endpoint(url) for url in settings.urls]
    self._gate = Gate(settings.limit)
    self._retries = Retries(settings.retry, settings.seed)
    self._http = Http(settings.limit.concurrency)
    self._calls = 0

  async def __aenter__(self) -> 'ChatClient':
    """Asks every URL for its models.

    Raises:
      ConfigError: none answers, or they name different models and none was chosen.
    """
    try:
      self.model = await self._find_model()
    except BaseException:
      await self._http.__aexit__(None, None, None)
      raise
    return self

  async def __aexit__(
    self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
  ) -> None:
    await self._http.__aexit__(kind, error, trace)

  async def complete(self, request: ChatRequest) -> ChatReply:
    """Waits for a place and asks until there is a reply.

    Raises:
      ServiceFault: the environment failed; `attempts` says how often it was tried.
    """
    key = request.digest(self.model, self.settings.image_pixels)
    try:
      async with self._gate.enter() as until:
        self._calls += 1
        # The gate's own end comes a moment after a try's, so that the slow place is told from the slow call.
        end, started = until - _MOMENT, time.monotonic()
        body = await asyncio.to_thread(completion.encode, request, self.model, self.settings.image_pixels)
        reply, tries = await self._retries.run(
          functools.partial(self._attempt, body, end), key=key, until=end
        )
    except Overdue as error:
      raise ServiceFault('deadline', f'{self.settings.name} did not answer in time.') from error
    return dataclasses.replace(reply, seconds=time.monotonic() - started, attempts=tries)

  def gauges(self) -> dict[str, float]:
    """Numbers for metrics, by name; `open` counts breakers that are not closed."""
    breakers = [endpoint.breaker for endpoint in self._endpoints]
    return {
      'calls': float(self._calls),
      'retries': float(self._retries.made),
      'retries_denied': float(self._retries.denied),
      'breakers_open': float(sum(b.state != 'closed' for b in breakers)),
      'breaker_trips': float(sum(b.trips for b in breakers)),
      'in_flight': float(sum(endpoint.busy for endpoint in self._endpoints)),
    }

  async def _attempt(self, body: bytes, end: float, number: int) -> tuple[ChatReply, int]:
    """One try, at the least loaded place that may be asked."""
    if number > 1:
      await self._gate.rate.permit()
    endpoint = self._choose()
    endpoint.busy += 1
    endpoint.breaker.enter()
    try:
      reply = completion.decode(await self._post(endpoint, body, end))
    except ServiceFault as fault:
      endpoint.breaker.leave(fault)
      raise
    except BaseException:
      endpoint.breaker.abandon()
      raise
    finally:
      endpoint.busy -= 1
    endpoint.breaker.leave()
    return reply, number

  async def _post(self, endpoint: _Endpoint, body: bytes, end: float) -> Any:
    until = min(end, time.monotonic() + self.settings.attempt_seconds)
    try:
      reply = await self._http.send(
        'POST',
        f'{endpoint.url}/chat/completions',
        until=until,
        json=body,
        headers=self._headers(),
        most=MAX_REPLY_BYTES,
      )
    except ServiceFault as fault:
      # One slow try is no slow call: the next place may be quicker.
      fault.transient = fault.transient or (fault.cause == 'deadline' and time.monotonic() < end)
      raise
    return check(reply, self.settings.name).json()

  def _choose(self) -> _Endpoint:
    able = [endpoint for endpoint in self._endpoints if endpoint.breaker.admits()]
    if not able:
      wait = min(endpoint.breaker.remaining for endpoint in self._endpoints)
      raise ServiceFault(
        'breaker', f'{self.settings.name} keeps failing and is left alone.', retry_after=wait
      )
    # A place that fails at once is never busy; its failures count as load, or all calls would go there.
    return min(able, key=lambda endpoint: endpoint.busy + endpoint.breaker.row)

  async def _find_model(self) -> str:
    found = await asyncio.gather(*(self._models(endpoint) for endpoint in self._endpoints))
    faults = [one for one in found if isinstance(one, ServiceFault)]
    if len(faults) == len(found):
      raise ConfigError(f'{self.settings.name} cannot be used: {faults[0]} Start it, or mend its address.')
    for endpoint, one in zip(self._endpoints, found):
      if isinstance(one, ServiceFault):
        endpoint.breaker.trip()  # tried again after a pause
    if self.settings.model:
      return self.settings.model
    names = {one[0] if one else '' for one in found if not isinstance(one, ServiceFault)}
    if len(names) != 1 or not (name := names.pop()):
      said = ', '.join(sorted(names)) or 'no model'
      raise ConfigError(f'The addresses of {self.settings.name} name {said}; choose one model in the config.')
    return name

  async def _models(self, endpoint: _Endpoint) -> list[str] | ServiceFault:
    """Names of the models that an address serves, or why it does not say."""
    try:
      reply = await self._http.send(
        'GET',
        f'{endpoint.url}/models',
        until=time.monotonic() + _HEALTH_SECONDS,
        headers=self._headers(),
        most=MAX_REPLY_BYTES,
      )
      found = check(reply, self.settings.name).json()
      return [str(entry['id']) for entry in found['data']]
    except (KeyError, TypeError):
      return ServiceFault('garbage', f'{endpoint.url}/models does not list models.')
    except ServiceFault as fault:
      return fault

  def _headers(self) -> dict[str, str]:
    return {'authorization': f'Bearer {self.settings.key}'} if self.settings.key else {}
