"""Who spent what in which stage, and whether more may be spent.

The stages of one task run one after the other, so that what is spent belongs to the stage under way. Replies
that come from a former run are charged as if they had been made now: a run that was killed ends as the whole
one would have, except that its clock begins anew.
"""

import contextlib
import dataclasses
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping

from llmi_jax.core.answer import Answer
from llmi_jax.services.completion import ChatReply, ChatRequest
from llmi_jax.services.faults import ServiceFault
from llmi_jax.tts.settings import Limits

Complete = Callable[[ChatRequest], Awaitable[ChatReply]]


@dataclasses.dataclass(frozen=True)
class Spent:
  """Totals.

  Attributes:
    calls: that were made.
    prompt_tokens: read.
    completion_tokens: written.
    flops: of models whose size is known.
    price: in the currency of the prices.
    seconds: of all calls added up.
  """

  calls: int = 0
  prompt_tokens: int = 0
  completion_tokens: int = 0
  flops: float = 0.0
  price: float = 0.0
  seconds: float = 0.0

  def __add__(self, other: 'Spent') -> 'Spent':
    pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other))
    return Spent(*(a + b for a, b in pairs))

  @property
  def tokens(self) -> int:
    return self.prompt_tokens + self.completion_tokens


@dataclasses.dataclass(frozen=True)
class Price:
  """Of one role, by the user's table.

  Attributes:
    prompt: of a million tokens read.
    completion: of a million tokens written.
    call: of a call.
  """

  prompt: float = 0.0
  completion: float = 0.0
  call: float = 0.0

  def of(self, spent: Spent) -> float:
    tokens = self.prompt * spent.prompt_tokens + self.completion * spent.completion_tokens
    return tokens / 1e6 + self.call * spent.calls


@dataclasses.dataclass(frozen=True)
class Account:
  """What a run came to.

  Attributes:
    rows: (stage, role) → what was spent.
    wall: seconds by stage, on the clock; stages follow each other, so their sum is the critical path.
    stopped: stage → why it ended before its end.
  """

  rows: Mapping[tuple[str, str], Spent]
  wall: Mapping[str, float]
  stopped: Mapping[str, str] = dataclasses.field(default_factory=dict)

  @property
  def total(self) -> Spent:
    return sum(self.rows.values(), Spent())

  @property
  def seconds(self) -> float:
    """On the critical path."""
    return sum(self.wall.values())


class Ledger:
  """Of one task."""

  def __init__(
    self,
    limits: Limits = Limits(),
    stages: Mapping[str, Limits] | None = None,
    prices: Mapping[str, Price] | None = None,
    flops: Mapping[str, float] | None = None,
    now: Callable[[], float] = time.monotonic,
  ):
    """Opens it; the clock runs.

    Args:
      limits: of all stages together.
      stages: of single ones.
      prices: by role (`policy`, `selector`, `polisher`, `repairer`) or `tool:NAME`.
      flops: per token, by role.
      now: the clock.
    """
    self._limits, self._stages = limits, stages or {}
    self._prices, self._flops, self._now = prices or {}, flops or {}, now
    self._rows: dict[tuple[str, str], Spent] = {}
    self._wall: dict[str, float] = {}
    self._stopped: dict[str, str] = {}
    self._began = self._stage_began = now()
    self.stage = ''

  @contextlib.contextmanager
  def at(self, stage: str) -> Iterator[None]:
    """What is spent inside belongs to `stage`."""
    self.stage, self._stage_began = stage, self._now()
    try:
      yield
    finally:
      self._wall[stage] = self._wall.get(stage, 0.0) + self._now() - self._stage_began
      self.stage = ''

  def charge(self, role: str, spent: Spent) -> None:
    """Writes something down; FLOPs and prices are added by the role's tables."""
    flops = self._flops.get(role, 0.0) * spent.tokens
    price = self._prices.get(role, Price()).of(spent)
    added = dataclasses.replace(spent, flops=spent.flops + flops, price=spent.price + price)
    place = self.stage, role
    self._rows[place] = self._rows.get(place, Spent()) + added

  def stop(self, why: str) -> None:
    """Says that the stage under way ends before its end."""
    self._stopped.setdefault(self.stage, why)

  @property
  def left(self) -> float:
    """Seconds until the stage under way must end."""
    ends = [self._began + self._limits.seconds] if self._limits.seconds else []
    own = self._stages.get(self.stage, Limits())
    ends += [self._stage_began + own.seconds] if own.seconds else []
    return min(ends) - self._now() if ends else float('inf')

  @property
  def refusal(self) -> str:
    """Why nothing more may be spent now; empty where it may."""
    mine = [spent for (stage, _), spent in self._rows.items() if stage == self.stage]
    for words, limits, rows in (
      ('whole', self._limits, list(self._rows.values())),
      (f'stage {self.stage}', self._stages.get(self.stage, Limits()), mine),
    ):
      total = sum(rows, Spent())
      for name, used, most in (
        ('calls', total.calls, limits.calls),
        ('tokens', total.tokens, limits.tokens),
        ('price', total.price, limits.price),
      ):
        if most and used >= most:
          return f'The budget of {name} of the {words} is spent ({used:g} of {most:g}).'
    if self.left <= 0:
      return 'The budget of seconds is spent.'
    return ''

  def admit(self) -> str:
    """`refusal`, and the stage is marked as stopped by it."""
    why = self.refusal
    if why:
      self.stop(why)
    return why

  def metered(self, role: str, complete: Complete) -> Complete:
    """The same, charged; raises ServiceFault `budget` where nothing more may be spent.

    A call is charged before it is made, its tokens when they are known.
    """

    async def ask(request: ChatRequest) -> ChatReply:
      if why := self.admit():
        raise ServiceFault('budget', why)
      self.charge(role, Spent(calls=1))
      started = self._now()
      try:
        reply = await complete(request)
      except ServiceFault:
        self.charge(role, Spent(seconds=self._now() - started))
        raise
      seconds = reply.seconds or self._now() - started
      self.charge(role, Spent(0, reply.prompt_tokens, reply.completion_tokens, seconds=seconds))
      return reply

    return ask

  def charge_answer(self, answer: Answer) -> None:
    """An answer that was written, with its tools."""
    used = dict(answer.usage)
    prompt, completion = (int(used.get(f'{name}_tokens', 0)) for name in ('prompt', 'completion'))
    calls = int(used.get('calls', 0))
    self.charge('policy', Spent(calls, prompt, completion, seconds=used.get('seconds', 0.0)))
    for outcome in answer.outcomes:
      if outcome.started:  # what never ran cost nothing
        seconds = max(0.0, outcome.ended - outcome.started)
        self.charge(f'tool:{outcome.tool}', Spent(1, price=outcome.cost, seconds=seconds))

  def account(self) -> Account:
    """So far."""
    return Account(dict(self._rows), dict(self._wall), dict(self._stopped))
