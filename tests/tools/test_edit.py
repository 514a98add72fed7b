import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmi_jax.services import images
from llmi_jax.tools.edit import edit_tool, read
from llmi_jax.tools.operations import MAX_SIDE, OPERATIONS
from llmi_jax.tools.registry import Context, ToolFailure

RNG = np.random.default_rng(0)
BLOCKS = np.kron(RNG.integers(30, 220, (6, 8, 3)), np.ones((8, 8, 1), int))
PIXELS = (BLOCKS + RNG.integers(-9, 9, BLOCKS.shape)).astype(np.uint8)  # 48 × 64
IMAGE = images.from_array(PIXELS)


def outcome(prompt):
  return asyncio.run(edit_tool().call({'img_index': 5, 'prompt': prompt}, Context(images={5: IMAGE})))


def edited(prompt) -> np.ndarray:
  return images.to_array(outcome(prompt).image).astype(int)


def names(prompt):
  return [op.name for op, _ in read(prompt)]


@pytest.mark.parametrize(
  ('prompt', 'expected'),
  [
    ('Turn it into a black and white picture, then rotate it by 45 degrees', ['grey', 'rotate']),
    ('GREYSCALE please', ['grey']),
    ('Turn it grey and flip it upside down', ['grey', 'mirror']),
    ('turn the picture 90 degrees to the left', ['rotate']),
    ('add a grey border', ['border']),
    ('add a 12 px red border and the caption "Cats, and dogs: grey, blurred"', ['border', 'caption']),
    ('make it 20% brighter and slightly blurred; invert it', ['brighten', 'blur', 'invert']),
    ('rotate 90 degrees and rotate 90 degrees', ['rotate', 'rotate']),
    ('shrink to half the size', ['resize']),
    ('give it a vintage look with more contrast', ['sepia', 'contrast']),
    ('make the photo blue with a green frame', ['tint', 'border']),
    ('the lightning is great', []),
    ('replace the dog by a dragon', []),
  ],
)
def test_instructions_are_read(prompt, expected):
  assert names(prompt) == expected


def test_grey_has_no_colour_and_invert_is_its_own_inverse():
  grey = edited('remove all colour: grayscale')
  assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 1] == grey[..., 2]).all()
  assert (edited('invert the colours') == 255 - PIXELS.astype(int)).all()


def test_turns_and_mirrors():
  assert (edited('rotate it 90 degrees clockwise') == np.rot90(PIXELS, -1)).all()
  assert (edited('rotate by 90 degrees counter-clockwise') == np.rot90(PIXELS)).all()
  assert (edited('turn it upside down') == np.rot90(PIXELS, 2)).all()
  assert (edited('mirror it') == PIXELS[:, ::-1]).all()
  assert (edited('flip it vertically') == PIXELS[::-1]).all()
  assert edited('rotate by 45 degrees').shape[0] > 64


def test_sizes():
  assert edited('resize it to 100x80').shape == (80, 100, 3)
  assert edited('shrink it to half the size').shape == (24, 32, 3)
  assert edited('resize to 32 pixels').shape == (24, 32, 3)
  assert edited('crop the left half').shape == (48, 32, 3)
  assert (edited('crop to the top half') == PIXELS[:24]).all()
  assert edited('crop it to a square').shape == (48, 48, 3)
  assert edited('add a 5 pixel border').shape == (58, 74, 3)


def test_light_and_colour():
  mean = PIXELS.mean()
  assert edited('brighten it').mean() > mean + 10 > mean - 10 > edited('make it darker').mean()
  assert edited('more contrast').std() > PIXELS.std() > edited('reduce the contrast').std()
  assert edited('slightly brighter').mean() < edited('much brighter').mean()
  assert edited('warmer')[..., 0].mean() > PIXELS[..., 0].mean()
  assert edited('add a 3 px red border')[0, 0].tolist() == [255, 0, 0]


def test_a_caption_is_written_below_or_above():
  below, above = edited('add the caption "Hello"'), edited('write "Hello" at the top')
  assert (below[:48] == PIXELS).all() and (above[-48:] == PIXELS).all()
  assert below[48:].min() < 100


def test_the_outcome_lists_the_operations_as_performed():
  executed = outcome('make it grey, then add a 4 px white border').executed
  assert executed[2:] == (('grey', 'make it grey'), ('border', 'add a 4 px white border'))


@pytest.mark.parametrize('prompt', ['replace the cat by a dragon', 'grey, ' * 9])
def test_what_cannot_be_carried_out_is_the_policys_failure(prompt):
  with pytest.raises(ToolFailure) as raised:
    outcome(prompt)
  assert (raised.value.fault, raised.value.status) == ('policy', 'invalid')


def test_an_unknown_instruction_is_told_what_is_known():
  with pytest.raises(ToolFailure) as raised:
    outcome('replace the cat by a dragon')
  assert all(op.name in str(raised.value) for op in OPERATIONS)


@pytest.mark.parametrize('operation', OPERATIONS, ids=lambda op: op.name)
def test_every_operation_is_found_by_its_own_name_and_changes_the_picture(operation):
  assert operation.name in names(operation.name)
  pixels = edited(operation.name)
  assert pixels.shape != PIXELS.shape or (pixels != PIXELS).any()


@settings(max_examples=60, deadline=None)
@given(
  st.lists(st.sampled_from([op.name for op in OPERATIONS]), min_size=1, max_size=4), st.integers(0, 10**6)
)
def test_no_number_breaks_an_operation_or_makes_a_huge_picture(operations, number):
  result = outcome(', '.join(f'{name} {number}' for name in operations))
  assert max(result.image.width, result.image.height) <= MAX_SIDE


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_can_be_read(text):
  read(text)
