"""The axis legend, used in every einsum and shape comment.

B  batch rows             T  tokens (query side)      S  tokens (key side, cache slots)
P  prompts (groups)       R  rollouts per prompt      V  vocabulary
L  layers                 D  model width              F  feed-forward width
N  query heads            K  key/value heads          G  query heads per key/value head
H  head width             E  experts                  C  chunks
"""
