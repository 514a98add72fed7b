"""Prompts → tokens → documents → verdicts → batch. The one place where device and host meet.

device    the thread that owns the accelerator
accord    what the processes of a run agree on
batcher   many requests on one engine; speaker, a conversation's face of it
sight     prompts with pictures → the engine's requests
episode   one response's life: read as it is written, tools, judges, reward parts
rollout   a step's tasks → trajectories, decoding and tools overlapped
batch     trajectories → the arrays that an update reads
pieces    those arrays → micro-batches of like length
album     the pictures of prompts, as the update reads them
watch     the reward's audit beside training
facts     what statistics read of a sample
statistics  numbers of a step and of an evaluation
timeline  where a step's seconds went
"""
