import dataclasses
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pil

from llmi_jax.core.errors import DataError
from llmi_jax.core.task import ImagePart, Message, TextPart
from llmi_jax.data import tasks
from llmi_jax.data.builtin import generate


def png(colour='red'):
  buffer = io.BytesIO()
  Pil.new('RGB', (70, 80), colour).save(buffer, 'PNG')
  return buffer.getvalue()


def public_row(**changes):
  """A text row as the public data has it: the prompt is a plain string."""
  extra = {'split': 'train', 'question': 'Why is the sky blue?', 'image_num': 2, 'tools': ['search', 'code']}
  row = {
    'prompt': 'Why is the sky blue? Use two pictures.',
    'data_source': 'interleaved',
    'extra_info': extra,
  }
  extra |= {key: changes.pop(key) for key in list(changes) if key in extra}
  return row | changes


def written(tmp_path, *rows, name='train.parquet'):
  path = tmp_path / name
  pq.write_table(pa.Table.from_pylist(list(rows)), path)
  return path


def test_built_in_tasks_are_equal_after_a_round_trip(tmp_path):
  train = generate.tasks('train')
  tasks.save(train, tmp_path / 'built.parquet')
  assert tasks.load(tmp_path / 'built.parquet') == train
  assert tasks.load(tasks.BUILTIN, 'test') == generate.tasks('test')


def test_public_text_rows_become_one_user_message(tmp_path):
  (task,) = tasks.load(written(tmp_path, public_row()), 'train')
  assert task.messages == (Message('user', (TextPart('Why is the sky blue? Use two pictures.'),)),)
  assert task.question == 'Why is the sky blue?'
  assert task.image_rule.image_num == 2
  assert task.required_tools == ('code', 'search')
  assert (task.source, task.id, task.cue, task.twin) == ('interleaved', 'train:0', 'implicit', None)


def test_public_rows_with_pictures_place_them_at_their_marks(tmp_path):
  prompt = [{'role': 'system', 'content': 'Help.'}, {'role': 'user', 'content': '<image>first <image> last'}]
  images = [{'bytes': png('red'), 'path': None}, {'bytes': png('blue'), 'path': None}]
  (task,) = tasks.load(written(tmp_path, public_row(prompt=prompt, images=images)))
  first, middle, second, last = task.messages[1].content
  assert isinstance(first, ImagePart) and isinstance(second, ImagePart)
  assert (middle, last) == (TextPart('first '), TextPart(' last'))
  assert [image.source for image in task.input_images] == ['input', 'input']
  assert first.image.sha256 != second.image.sha256


def test_pictures_are_read_from_paths_beside_the_file(tmp_path):
  (tmp_path / 'red.png').write_bytes(png())
  row = public_row(
    prompt=[{'role': 'user', 'content': '<image>x'}], images=[{'bytes': None, 'path': 'red.png'}]
  )
  (task,) = tasks.load(written(tmp_path, row))
  assert task.input_images[0].width == 70


@pytest.mark.parametrize(
  ('row', 'column'),
  [
    (public_row(prompt=None), 'prompt'),
    (public_row(prompt=[{'role': 'user', 'content': None}]), 'prompt'),
    (public_row(prompt=[{'role': 'robot', 'content': 'x'}]), 'prompt'),
    (public_row(prompt=[{'role': 'user', 'content': '<image>x'}]), 'prompt'),
    (public_row(image_num=-2), 'extra_info.image_num'),
    (public_row(image_num=None), 'extra_info.image_num'),
    (public_row(question=None), 'extra_info.question'),
    (public_row(split=None), 'extra_info.split'),
    (public_row(tools=None), 'extra_info.tools'),
    (public_row(images=[{'bytes': b'no picture', 'path': None}]), r'images\[0\]'),
    (public_row(images=[{'bytes': None, 'path': 'gone.png'}]), r'images\[0\]'),
  ],
)
def test_a_bad_row_is_named_by_file_row_and_column(tmp_path, row, column):
  path = written(tmp_path, row)
  with pytest.raises(DataError, match=rf'train\.parquet, row 0, column {column}'):
    tasks.load(path)


@pytest.mark.parametrize('column', ['prompt', 'extra_info'])
def test_a_missing_column_is_named(tmp_path, column):
  row = public_row()
  del row[column]
  with pytest.raises(DataError, match=f"no column '{column}'"):
    tasks.load(written(tmp_path, row))


def test_missing_broken_and_splitless_files_are_data_errors(tmp_path):
  with pytest.raises(DataError, match='cannot be read'):
    tasks.load(tmp_path / 'gone.parquet')
  (tmp_path / 'broken.parquet').write_bytes(b'PAR1 but not really')
  with pytest.raises(DataError, match='cannot be read'):
    tasks.load(tmp_path / 'broken.parquet')
  with pytest.raises(DataError, match="no task of the split 'test'; its splits: train"):
    tasks.load(written(tmp_path, public_row()), 'test')
  with pytest.raises(DataError, match='split'):
    tasks.load(tasks.BUILTIN, 'tset')


def test_an_id_that_stands_twice_is_named(tmp_path):
  one = generate.tasks('test')[0]
  tasks.save([one, one], tmp_path / 'twice.parquet')
  with pytest.raises(DataError, match=r'row 1, column extra_info\.id'):
    tasks.load(tmp_path / 'twice.parquet')


def test_what_the_schema_cannot_hold_is_refused(tmp_path):
  one = generate.tasks('test')[0]
  with pytest.raises(DataError, match='gold'):
    tasks.save([dataclasses.replace(one, gold=(TextPart('x'),))], tmp_path / 'x.parquet')
  marked = dataclasses.replace(one, messages=(Message('user', (TextPart('an <image> here'),)),))
  with pytest.raises(DataError, match='marks a picture'):
    tasks.save([marked], tmp_path / 'x.parquet')
  assert not (tmp_path / 'x.parquet').exists()
