"""Messages as they are → what a model reads: for a policy that answers whoever asks, such as a judge."""

from collections.abc import Sequence

from llmi_jax.core.errors import DataError
from llmi_jax.core.prompt import Prompt
from llmi_jax.core.task import ImagePart, Message
from llmi_jax.text import pictures
from llmi_jax.text.chat import Content, encode_chat
from llmi_jax.text.pictures import Processor
from llmi_jax.text.tokens import Tokenizer


def encode(
  messages: Sequence[Message], tokenizer: Tokenizer, *, limit: int, processor: Processor | None = None
) -> Prompt:
  """Encodes a conversation up to where the reply begins.

  Args:
    messages: texts and pictures in order.
    tokenizer: of the model that answers.
    limit: the most tokens a prompt may have, those of its pictures included.
    processor: cuts pictures for a model that sees; None for one that only reads.

  Raises:
    DataError: it is too long, a picture cannot be cut, or there is one and the model only reads.
    WeightsError: the chat template does not do what it should; see `encode_chat`.
  """
  shown = [part.image for message in messages for part in message.content if isinstance(part, ImagePart)]
  if shown and processor is None:
    raise DataError('A message holds a picture; this model reads text alone.')
  # Counted before any is cut: patches take a hundred times the room of a file.
  wanted = sum(pictures.tokens(image, processor) for image in shown if processor)
  if wanted > limit:
    raise DataError(
      f'The {len(shown)} pictures have {wanted} tokens; at most {limit} are read. Send fewer or smaller ones.'
    )
  seen = {image.sha256: image for image in shown}
  vision = {sha256: pictures.cut(image, processor) for sha256, image in seen.items() if processor}
  order = {sha256: index for index, sha256 in enumerate(vision)}
  contents = [
    (message.role, _content(message, {s: v.tokens for s, v in vision.items()})) for message in messages
  ]
  tokens, text = encode_chat(tokenizer, contents)
  if len(tokens) > limit:
    raise DataError(f'The prompt has {len(tokens)} tokens; at most {limit} are read.')
  return Prompt(tokens, text, tuple(vision.values()), tuple(order[image.sha256] for image in shown))


def _content(message: Message, runs: dict[str, int]) -> Content:
  """One text where there is no picture, as templates for texts want it."""
  if not any(isinstance(part, ImagePart) for part in message.content):
    return ''.join(part.text for part in message.content if not isinstance(part, ImagePart))
  return [runs[part.image.sha256] if isinstance(part, ImagePart) else part.text for part in message.content]
