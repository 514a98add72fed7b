"""The code tool: Python that draws, run in the sandbox."""

import re

from llmi_jax.core.outcome import Candidate, ToolOutcome
from llmi_jax.core.toolspec import Parameter, ToolSpec
from llmi_jax.tools.registry import Context, Params, Tool, ToolFailure, success
from llmi_jax.tools.sandbox.host import Sandbox, SandboxLost

SPEC = ToolSpec(
  'code',
  'Draws a chart or diagram by running Python. Use it for numbers, comparisons, shares, trends and '
  'functions, where a picture must be exact. `np`, `pd`, `plt` and `sns` are imported; there are no files '
  'and no network. Make one figure with title and labels; it is saved for you.',
  (Parameter('code', 'string', 'the Python code that draws the figure'),),
  (('code', "plt.bar(['2022', '2023', '2024'], [3, 5, 9])\nplt.title('Orders per year')"),),
)

_FENCED = re.compile(r'\A\s*(`{3,}|~{3,})[^\n]*\n(.*?)\n?\s*\1\s*\Z', re.DOTALL)


def code_tool(sandbox: Sandbox, *, deadline: float = 10.0, spec: ToolSpec = SPEC) -> Tool:
  """The code tool.

  Args:
    sandbox: where the code runs.
    deadline: seconds that a snippet may take; exceeding them is the policy's doing. The dispatcher's limit
      for this tool must be longer: it covers waiting for a place in the sandbox, and is nobody's doing.
    spec: what prompts say of it.
  """

  async def call(params: Params, context: Context) -> ToolOutcome:
    code = unfenced(str(params['code']))
    try:
      result = await sandbox.run(code, deadline=deadline)
    except SandboxLost as error:
      raise ToolFailure(str(error), 'environment') from error
    if result.picture is None:
      raise ToolFailure(result.error, 'policy', executed=(('code', code),))
    kept = (('text', result.text), ('versions', result.versions))
    artefacts = tuple((name, text) for name, text in kept if text)
    return success(Candidate(result.picture), executed=(('code', code),), artefacts=artefacts)

  return Tool(spec, call, provider=f'sandbox:{sandbox.tier}', model=sandbox.identity)


def unfenced(code: str) -> str:
  """The code without the Markdown fence around it, if there is one."""
  fenced = _FENCED.match(code)
  return fenced[2] if fenced else code
