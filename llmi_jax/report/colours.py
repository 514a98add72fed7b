"""One colour per tool, reward part and phase, the same wherever it appears."""

import zlib

# Names of classes in `style.css`.
_KNOWN = {
  'search': 'h-blue',
  'diffusion': 'h-violet',
  'code': 'h-green',
  'edit': 'h-orange',
  'reward': 'h-ink',
  'rule': 'h-slate',
  'llm': 'h-teal',
  'mllm': 'h-rose',
  'prefill': 'h-violet',
  'decode': 'h-blue',
  'view': 'h-gold',
  'idle': 'h-slate',
  'tools': 'h-orange',
  'judge': 'h-rose',
  'update': 'h-teal',
  'tokens': 'h-blue',
  'norm': 'h-slate',
  'malformed': 'h-rose',
  'truncated': 'h-gold',
  'zero advantage': 'h-slate',
}
_OTHERS = ('h-gold', 'h-brown', 'h-cyan')  # unlike those of tools and parts


def of(name: str) -> str:
  """The class that colours `name`; unknown names get a lasting one of their own."""
  return _KNOWN.get(name) or _OTHERS[zlib.crc32(name.encode('utf-8', 'replace')) % len(_OTHERS)]
