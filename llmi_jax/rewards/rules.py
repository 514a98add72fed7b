"""What can be counted about an answer: pictures against the image rule, tags, tools.

Pictures that exist are counted, never words that stand for one.
"""

from collections.abc import Mapping

from llmi_jax.core.answer import Answer
from llmi_jax.core.document import Malformed, ToolCall
from llmi_jax.core.task import ImageRule, Task

# What each picture beyond `exactly n` costs in training (LLM-I, released recipe).
PER_EXTRA = 0.3
# Weights of `r_tool` (LLM-I §3.2.1 and the released code): error-prone tools count more.
TOOL_WEIGHTS: Mapping[str, float] = {'code': 0.4, 'edit': 0.3, 'search': 0.2, 'diffusion': 0.1}


def image_rule_score(rule: ImageRule, count: int, *, exact: bool = False) -> float:
  """The image-rule score r, in [0, 1].

  Training form for `exactly n`: count/n below n, 1 at n, max(0, 1 − 0.3·(count − n)) above. All other rules
  are 0 or 1 in both forms.

  Args:
    rule: of the task.
    count: pictures in the answer.
    exact: the evaluation form, 0 or 1 throughout.
  """
  if rule.kind == 'none':
    return float(count == 0)
  if rule.kind == 'free':
    return 1.0
  if rule.kind == 'at_least_one':
    return float(count > 0)
  if exact or count == rule.count:
    return float(count == rule.count)
  if count < rule.count:
    return count / rule.count
  return max(0.0, 1.0 - PER_EXTRA * (count - rule.count))


def tag_counts(answer: Answer) -> tuple[int, int]:
  """Well-formed tags and all tags, unclosed ones included."""
  calls = [part.call for part in (*answer.pictures, *answer.gaps)]
  well_formed = sum(isinstance(call, ToolCall) for call in calls)
  return well_formed, well_formed + sum(isinstance(call, Malformed) for call in calls)


def valid_tag_rate(answer: Answer) -> float | None:
  """Well-formed / all tags; None where there is no tag."""
  well_formed, total = tag_counts(answer)
  return well_formed / total if total else None


def tool_success(answer: Answer) -> float | None:
  """Successful / attempted calls, the paper's "Tool Acc"; None where none was attempted."""
  outcomes = answer.outcomes
  return sum(o.status == 'ok' for o in outcomes) / len(outcomes) if outcomes else None


def tool_accuracy(task: Task, answer: Answer) -> float:
  """1 where the tools that succeeded are exactly the required ones, else 0."""
  return float(_succeeded(answer) == set(task.required_tools))


def r_tool(task: Task, answer: Answer) -> float:
  """How far the required tools were tried and succeeded, error-prone ones weighing more; never rewarded.

  Half for the weighted share of required tools that succeeded, half for the share that was attempted; 0 where
  no tool with a weight is required (LLM-I, released code).
  """
  required = {tool: TOOL_WEIGHTS.get(tool, 0.0) for tool in task.required_tools}
  total = sum(required.values())
  if not total:
    return 0.0
  attempted = {outcome.tool for outcome in answer.outcomes}
  succeeded = _succeeded(answer)
  tried = sum(weight for tool, weight in required.items() if tool in attempted)
  done = sum(weight for tool, weight in required.items() if tool in succeeded)
  return 0.5 * done / total + 0.5 * tried / total


def _succeeded(answer: Answer) -> set[str]:
  return {outcome.tool for outcome in answer.outcomes if outcome.status == 'ok'}
