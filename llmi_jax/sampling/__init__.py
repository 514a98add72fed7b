"""Generation over `forward` alone; no model is known here.

keys     one random key per (seed, stream, step, task, sample), folded with the position
logits   logits → a token and its log-probabilities
loop     the jitted programs: prefill, insert, decode a chunk
engine   the synchronous face: submit, step → finished, cancel
"""
