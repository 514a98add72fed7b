"""Generation over `forward` alone; no model is known here.

keys     one random key per (seed, stream, step, task, sample), folded with the position
logits   logits → a token and its log-probabilities, without a sort
loop     the jitted programs: prefill a prompt's chunk, begin rows, decode a chunk, grow and shrink
slots    which prompt is kept where and which row continues it
request  what is asked of an engine and what it gives back
engine   the synchronous face: submit, step → finished and grown, cancel
"""
