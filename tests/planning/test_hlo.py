"""Bytes of compiled programs: texts worked out by hand, and XLA's own count where there is no loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from llmi_jax.planning import hlo

# Ten times: a slice of a stack, times a matrix, gathered over pairs. The condition's constant is the end.
# ruff: noqa: E501
TEXT = """\
HloModule jit_f, entry_computation_layout={(f32[10,4,8]{2,1,0}, f32[8,8]{1,0})->f32[4,8]{1,0}}

%fused (param_0: f32[10,4,8], param_1: s32[]) -> f32[4,8] {
  %param_0 = f32[10,4,8]{2,1,0} parameter(0)
  %param_1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %dynamic-slice.1 = f32[1,4,8]{2,1,0} dynamic-slice(%param_0, %param_1, %zero, %zero), dynamic_slice_sizes={1,4,8}
  ROOT %bitcast.1 = f32[4,8]{1,0} bitcast(%dynamic-slice.1)
}

%body (arg: (s32[], f32[4,8], f32[10,4,8], f32[8,8])) -> (s32[], f32[4,8], f32[10,4,8], f32[8,8]) {
  %arg = (s32[], f32[4,8]{1,0}, f32[10,4,8]{2,1,0}, f32[8,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%arg), index=0
  %x = f32[10,4,8]{2,1,0} get-tuple-element(%arg), index=2
  %w = f32[8,8]{1,0} get-tuple-element(%arg), index=3
  %piece = f32[4,8]{1,0} fusion(%x, %i), kind=kLoop, calls=%fused
  %dot.1 = f32[4,8]{1,0} dot(%piece, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %all-gather.1 = f32[8,8]{1,0} all-gather(%dot.1), replica_groups={{0,1},{2,3}}, dimensions={0}
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one)
  ROOT %out = (s32[], f32[4,8]{1,0}, f32[10,4,8]{2,1,0}, f32[8,8]{1,0}) tuple(%next, %dot.1, %x, %w)
}

%condition (arg.1: (s32[], f32[4,8], f32[10,4,8], f32[8,8])) -> pred[] {
  %arg.1 = (s32[], f32[4,8]{1,0}, f32[10,4,8]{2,1,0}, f32[8,8]{1,0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%arg.1), index=0
  %end = s32[] constant(10)
  ROOT %compare.1 = pred[] compare(%i.1, %end), direction=LT
}

ENTRY %main (x.1: f32[10,4,8], w.1: f32[8,8]) -> f32[4,8] {
  %x.1 = f32[10,4,8]{2,1,0} parameter(0)
  %w.1 = f32[8,8]{1,0} parameter(1)
  %start = s32[] constant(0)
  %nothing = f32[4,8]{1,0} constant({...})
  %first = (s32[], f32[4,8]{1,0}, f32[10,4,8]{2,1,0}, f32[8,8]{1,0}) tuple(%start, %nothing, %x.1, %w.1)
  %while.1 = (s32[], f32[4,8]{1,0}, f32[10,4,8]{2,1,0}, f32[8,8]{1,0}) while(%first), condition=%condition, body=%body
  ROOT %result = f32[4,8]{1,0} get-tuple-element(%while.1), index=1
}
"""
PIECE, MATRIX, COUNTER = 4 * 8 * 4, 8 * 8 * 4, 4


def test_a_loop_counts_as_often_as_its_condition_says():
  found = hlo.parse(TEXT)
  fusion = PIECE + COUNTER + PIECE  # of the stack one piece, the counter, the result
  dot = PIECE + MATRIX + PIECE
  gather = PIECE + MATRIX
  assert hlo.traffic(found) == 10 * (fusion + dot + gather + 3 * COUNTER)
  assert hlo.collectives(found) == [hlo.Collective('all-gather', ((0, 1), (2, 3)), 10 * MATRIX)]


def test_an_annotation_goes_before_the_condition():
  line = 'condition=%condition, body=%body'
  annotated = TEXT.replace(line, f'{line}, backend_config={{"known_trip_count":{{"n":"3"}}}}')
  assert hlo.collectives(hlo.parse(annotated))[0].size == 3 * MATRIX


@pytest.mark.parametrize(
  ('old', 'new'),
  [
    # It also looks at something else; it ends at a number that nobody knows; it goes down.
    (
      'ROOT %compare.1 = pred[] compare(%i.1, %end), direction=LT',
      '%compare.1 = pred[] compare(%i.1, %end), direction=LT\n  ROOT %both = pred[] and(%compare.1, %compare.1)',
    ),
    ('%end = s32[] constant(10)', '%end = s32[] get-tuple-element(%arg.1), index=0'),
    ('direction=LT', 'direction=GT'),
  ],
)
def test_a_loop_without_a_known_end_counts_once(old, new):
  assert hlo.collectives(hlo.parse(TEXT.replace(old, new)))[0].size == MATRIX


@pytest.mark.parametrize(
  ('shape', 'wanted'),
  [
    ('f32[2,3]{1,0}', 24),
    ('bf16[5]', 10),
    ('pred[]', 1),
    ('s4[8]', 4),
    ('f8e4m3fn[6]', 6),
    ('(f32[2], s32[])', 12),
    ('bf16[4,128]{1,0:T(8,128)(2,1)S(1)}', 0),
    ('token[]', 0),
  ],
)
def test_bytes_of_types(shape, wanted):
  assert hlo.bytes_of(shape) == wanted


@pytest.mark.parametrize(
  ('text', 'wanted'),
  [
    ('replica_groups={{0,1},{2,3}}', ((0, 1), (2, 3))),
    ('replica_groups=[2,2]<=[4]', ((0, 1), (2, 3))),
    ('replica_groups=[2,2]<=[2,2]T(1,0)', ((0, 2), (1, 3))),
    ('source_target_pairs={{0,1},{1,0}}', ((0, 1), (1, 0))),
    ("replica_groups=mesh['x'=2,'y'=2] {'x'}", ((0, 2), (1, 3))),
  ],
)
def test_groups_in_every_form(text, wanted):
  line = f'  %y = f32[4] all-reduce(%x), {text}, to_apply=%sum'
  head = 'ENTRY %main (x: f32[4]) -> f32[4] {\n  %x = f32[4] parameter(0)\n'
  (found,) = hlo.collectives(hlo.parse(f'{head}{line}\n}}\n'))
  assert found.groups == wanted and found.size == 16


def test_xla_counts_about_the_same_of_a_program_without_loops():
  function = jax.jit(lambda a, b: jnp.tanh(a @ b) + 1)
  compiled = function.lower(jnp.ones((256, 512)), jnp.ones((512, 128))).compile()
  found, wanted = hlo.traffic(hlo.parse(compiled.as_text())), compiled.cost_analysis()['bytes accessed']
  assert abs(found / wanted - 1) < 0.05


def test_a_real_scan_over_a_mesh():
  mesh = Mesh(np.array(jax.devices()[:4]).reshape(2, 2), ('data', 'model'))

  def on(*spec):
    return NamedSharding(mesh, PartitionSpec(*spec))

  def function(x, ws):
    return jax.lax.scan(lambda x, w: (jax.lax.with_sharding_constraint(x @ w, on('data')), None), x, ws)[0]

  x = jax.ShapeDtypeStruct((8, 64), jnp.float32, sharding=on('data'))
  ws = jax.ShapeDtypeStruct((6, 64, 64), jnp.float32, sharding=on(None, 'model'))
  found = hlo.collectives(hlo.parse(jax.jit(function).lower(x, ws).compile().as_text()))
  # Every layer either gathers its matrix or sums its product, within a pair.
  assert {tuple(sorted(group)) for one in found for group in one.groups} == {(0, 1), (2, 3)}
  sizes = sorted(one.size for one in found)
  assert sizes[-1] in (6 * 4 * 64 * 4, 6 * 64 * 64 * 4)
