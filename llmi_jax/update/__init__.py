"""The training step, as pure functions of arrays.

rows       what it reads
optimizer  AdamW, its schedule and its memory-lean forms
state      what it changes
loss       a policy's functions and the loss of a micro-batch
step       micro-batches added up; the step's end
"""
