"""Generation over `forward` alone; no model is known here.

keys      one random key per (seed, stream, step, task, sample), folded with the position
logits    logits → a token and its log-probabilities, without a sort
state     what generation carries, and what is handed to it
loop      the jitted programs: prefill a prompt's chunk, begin rows, decode a chunk, grow, shrink and pack
places    where arrays live on a mesh, and which of them are this process's
settings  an engine's static sizes
slots     which prompt is kept where and which row continues it
prefill   which tokens of which prompts a prefill takes
rounds    what all processes do next, from what each of them has
request   what is asked of an engine and what it gives back
engine    the synchronous face: submit, step → finished and grown, cancel
"""
