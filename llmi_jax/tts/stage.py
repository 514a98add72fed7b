"""What a stage is: a function of a tree, which tells of the best so far."""

from collections.abc import Awaitable, Callable

from llmi_jax.core.task import Task
from llmi_jax.tts.crew import Crew
from llmi_jax.tts.settings import Plan
from llmi_jax.tts.tree import Tree

# Told of every tree that could be the last one.
Keep = Callable[[Tree], None]
Stage = Callable[[Task, Tree, Crew, Plan, Keep], Awaitable[Tree]]
