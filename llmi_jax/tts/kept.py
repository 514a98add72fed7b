"""Replies of chat models, kept in a run's journal by what was asked, faults included."""

import dataclasses
from collections.abc import Callable

from llmi_jax.services.completion import ChatReply, ChatRequest
from llmi_jax.services.faults import Cause, ServiceFault
from llmi_jax.services.journal import Entry, Journal
from llmi_jax.services.sharing import Flights
from llmi_jax.tts.ledger import Complete


@dataclasses.dataclass(frozen=True)
class Lost:
  """A call that came to nothing; fields as in `ServiceFault`."""

  cause: Cause
  words: str


def kept(
  complete: Complete, journal: Journal | None, task: str, digest: Callable[[ChatRequest], str]
) -> Complete:
  """The same, asked once: by this run, and by one that goes on after a kill.

  Args:
    complete: asks.
    journal: of the run; None keeps nothing beyond equal calls under way.
    task: the place in the journal.
    digest: what a reply depends on.
  """
  flights: Flights[ChatReply | Lost] = Flights()

  async def find(request: ChatRequest, entry: Entry) -> ChatReply | Lost:
    found = journal.get(entry, ChatReply | Lost) if journal is not None else None
    if found is not None:
      return found
    try:
      made: ChatReply | Lost = await complete(request)
    except ServiceFault as fault:
      made = Lost(fault.cause, str(fault))
    if journal is not None:
      await journal.put(entry, made)
    return made

  async def ask(request: ChatRequest) -> ChatReply:
    entry = Entry('chat', 0, task, 0, digest(request))
    said = await flights.share(entry, lambda: find(request, entry))
    if isinstance(said, Lost):
      raise ServiceFault(said.cause, said.words, transient=False)
    return said

  return ask
