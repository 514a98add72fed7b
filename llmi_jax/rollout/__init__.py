"""Prompts → tokens → documents → verdicts → batch. The one place where device and host meet.

device    the thread that owns the accelerator
stream    the engine's asynchronous face: samples as they finish
episode   one response's life: parse, tools, judges, reward parts
rollout   a step's tasks → trajectories, decoding and tools overlapped
batch     trajectories → the arrays that an update reads
pieces    those arrays → micro-batches of like length
timeline  where a step's seconds went
"""
