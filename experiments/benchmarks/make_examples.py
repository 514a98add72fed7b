"""Draws and writes the example records that `python -m llmi_jax.evaluate --records=examples` reads.

    python experiments/benchmarks/make_examples.py

Texts and pictures are ours (Apache-2.0); forms are the benchmarks'. Eight records each, with answers of two
made-up systems: Careful, who does what is asked, and Hasty, who leaves out pictures and words.
"""

import io
import json
import pathlib
import sys

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

ROOT = pathlib.Path(__file__).resolve().parents[2] / 'llmi_jax' / 'eval' / 'examples'
SIZE = 144, 108
SKY, GRASS, INK = (206, 228, 245), (126, 176, 108), (52, 58, 68)


def draw(what, *, tint=0):
  """A small picture of a few known things."""
  page = Image.new('RGB', SIZE, (SKY[0] - tint, SKY[1] - tint, SKY[2]))
  pen = ImageDraw.Draw(page)
  pen.rectangle((0, 78, *SIZE), fill=GRASS)
  PARTS[what](pen)
  return page


def _tree(pen, x=72, leaves=(58, 122, 66)):
  pen.rectangle((x - 5, 52, x + 5, 84), fill=(112, 78, 48))
  pen.ellipse((x - 26, 14, x + 26, 62), fill=leaves)


def _house(pen, wall=(226, 198, 160), roof=(168, 62, 52)):
  pen.rectangle((44, 46, 102, 86), fill=wall)
  pen.polygon(((38, 46), (73, 18), (108, 46)), fill=roof)
  pen.rectangle((66, 62, 80, 86), fill=INK)


def _bars(pen, values=(2, 4, 3, 6)):
  pen.rectangle((0, 0, *SIZE), fill='white')
  pen.line((16, 8, 16, 94, 136, 94), fill=INK, width=2)
  for number, value in enumerate(values):
    left = 26 + 28 * number
    pen.rectangle((left, 94 - 12 * value, left + 18, 93), fill=(70, 120, 180))


def _circle(pen, color=(214, 96, 70)):
  pen.rectangle((0, 0, *SIZE), fill='white')
  pen.ellipse((36, 18, 108, 90), fill=color)


def _seed(pen):
  pen.ellipse((64, 84, 80, 94), fill=(112, 78, 48))


def _sprout(pen):
  pen.line((72, 88, 72, 62), fill=(58, 122, 66), width=4)
  pen.ellipse((72, 54, 92, 66), fill=(58, 122, 66))


def _boat(pen):
  pen.rectangle((0, 70, *SIZE), fill=(92, 140, 190))
  pen.polygon(((34, 66), (110, 66), (96, 84), (48, 84)), fill=(140, 92, 60))
  pen.polygon(((70, 16), (70, 62), (104, 62)), fill='white', outline=INK)


def _room(pen):
  pen.rectangle((0, 0, *SIZE), fill=(236, 228, 214))
  pen.rectangle((20, 54, 84, 90), fill=(150, 110, 80))
  pen.rectangle((96, 20, 130, 56), fill=SKY, outline=INK)


PARTS = {
  'tree': _tree,
  'autumn tree': lambda pen: _tree(pen, leaves=(206, 122, 44)),
  'two trees': lambda pen: (_tree(pen, 42), _tree(pen, 104)),
  'house': _house,
  'blue house': lambda pen: _house(pen, (150, 178, 214), (60, 84, 140)),
  'bars': _bars,
  'bars sorted': lambda pen: _bars(pen, (2, 3, 4, 6)),
  'circle': _circle,
  'green circle': lambda pen: _circle(pen, (84, 156, 96)),
  'seed': _seed,
  'sprout': _sprout,
  'boat': _boat,
  'room': _room,
}


def save(path, what, **more):
  path.parent.mkdir(parents=True, exist_ok=True)
  draw(what, **more).save(path, 'JPEG' if path.suffix == '.jpg' else 'PNG', quality=80, optimize=True)


def png(what):
  buffer = io.BytesIO()
  draw(what).save(buffer, 'PNG', optimize=True)
  return buffer.getvalue()


def write_lines(path, rows):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows), 'utf-8')


# OpenING: (meta, its name, subtask, its name, number, input steps, gold steps); a step is (text, picture).
OPENING = (
  ('1', 'Storybook Creation', '1', 'Garden Stories', '1',
   [('<BEGIN> Tell in three steps, each with a picture, how a tree comes to be.', None)],
   [('A seed lies in the ground.', 'seed'), ('A sprout looks at the sun.', 'sprout'),
    ('It is a tree now.', 'tree')]),
  ('1', 'Storybook Creation', '1', 'Garden Stories', '2',
   [('Go on with the story in words and pictures. <BEGIN> The tree was green all summer. <image>', 'tree')],
   [('Then its leaves turned.', 'autumn tree'), ('A second one grew beside it.', 'two trees')]),
  ('2', 'Multimodal Report Generation', '3', 'Sales Reports', '4',
   [('<BEGIN> Report on a kiosk that sold 2, 4, 3 and 6 lemonades, with one chart.', None)],
   [('Sales rose, with one step back on the third day.', 'bars')]),
  ('6', 'Image Editing', '2', 'House Painting', '7',
   [('<BEGIN>', None), (' <image>', 'house'), ('Show this house painted blue and say what changed.', None)],
   [('Walls and roof are blue; the door is as it was.', 'blue house')]),
  ('9', 'Graph Understanding', '1', 'Sorting Charts', '11',
   [('<BEGIN> Sort the bars of this chart from low to high. <image>', 'bars')],
   [('Sorted, they are 2, 3, 4 and 6.', 'bars sorted')]),
  ('11', 'Two-Dimensional Reasoning', '1', 'Colour Changes', '3',
   [('<BEGIN> A red circle becomes green. Show before and after. <image>', 'circle')],
   [('Before, it is red.', 'circle'), ('After, it is green.', 'green circle')]),
  ('17', 'Geographical Tasks', '2', 'Harbour Views', '5',
   [('<BEGIN> What does one see in a small harbour? Show it.', None)],
   [('A boat with a white sail, and water.', 'boat')]),
  ('23', 'Embodied Tasks', '1', 'Room Search', '9',
   [('<BEGIN> Where in this room could a key lie? <image>', 'room'),
    ('Answer with a picture of the place.', None)],
   [('On the low table, left of the window.', 'room')]),
)  # fmt: skip


def opening():
  folder = ROOT / 'opening'
  rows = []
  for meta, topic, sub, task, number, steps, gold in OPENING:
    name = f'./images/{task}/{number}'
    made = [_opening_step(folder, f'{name}-i', k, step) for k, step in enumerate(steps, 1)]
    wanted = [_opening_step(folder, f'{name}-o', k, step) for k, step in enumerate(gold, 1)]
    row = {
      'total_uid': f'{int(meta):02d}{int(sub):02d}{int(number):03d}',
      **{'meta_task_id': meta, 'meta_task_name': topic, 'subtask_id': sub, 'subtask_name': task},
      **{'data_id': number, 'conversations': [{'input': made}, {'output': wanted}]},
    }
    rows.append(row)
    _opening_answer(folder, row, gold, 'Careful')
    _opening_answer(
      folder, row, [(gold[0][0].split(',')[0], gold[0][1] if int(number) % 2 else None)], 'Hasty'
    )
  write_lines(folder / 'test_data.jsonl', rows)


def _opening_step(folder, stem, number, step):
  text, what = step
  name = f'{stem}-{number}.jpg' if what else None
  if what:
    save(folder / name, what)
    text = text if '<image>' in text else f'{text} <image>'
  return {'image': name, 'text': text}


def _opening_answer(folder, row, steps, system):
  target = folder / 'gen_outputs' / f'{system}_output'
  output = []
  for number, (text, what) in enumerate(steps):
    name = f'{row["total_uid"]}-o-{number}.jpg' if what else None
    if what:
      save(target / name, what, tint=12 if system == 'Hasty' else 0)
    output.append({'text': text, 'image': name})
  conversations = [row['conversations'][0], {'output': output}]
  target.mkdir(parents=True, exist_ok=True)
  (target / f'{row["total_uid"]}.json').write_text(
    json.dumps(row | {'conversations': conversations}, indent=1)
  )


# ISG-Bench: (subtask, query, golden, relations, questions about pictures); parts are texts or @pictures.
ISG = (
  ('Photo Variation', ['Show this house in blue, then name the colour.', '@house'], ['@blue house', 'Blue.'],
   [('<gen_img1>', '<query_img1>', 'recolours', 'Does <gen_img1> show the house of <query_img1> in blue?')],
   [('<gen_img1>', 'Is there a house?', []), ('<gen_img1>', 'Is the house blue?', [0])]),
  ('Attribute Transfer', ['Show this tree in autumn, say what changed, show two.', '@tree'],
   ['@autumn tree', 'The leaves turned.', '@two trees'],
   [('<gen_text1>', '<gen_img1>', 'describes', 'Does <gen_text1> describe this image?')],
   [('<gen_img1>', 'Is there a tree?', []), ('<gen_img1>', 'Are its leaves orange?', [0]),
    ('<gen_img2>', 'Are there two trees?', [])]),
  ('3D_object', ['Show this room from the same place again.', '@room'], ['@room', 'Nothing moved.'],
   [('<gen_img1>', '<query_img1>', 'is another view of', 'Do <gen_img1> and <query_img1> show one room?')],
   [('<gen_img1>', 'Is there a table?', [])]),
  ('Semantic Segmentation', ['Mark the circle in green and say where it was.', '@circle'],
   ['@green circle', 'In the middle.'],
   [('<gen_text1>', '<query_img1>', 'locates', 'Does <gen_text1> say where the circle of this image is?')],
   [('<gen_img1>', 'Is there a green circle?', [])]),
  ('HowTo', ['How does a seed become a plant? Two texts, each followed by a picture.'],
   ['Put it into soil.', '@seed', 'Wait for a sprout.', '@sprout'],
   [('<gen_text1>', '<gen_img1>', 'describes', 'Does <gen_text1> fit this image?'),
    ('<gen_text1>', '<gen_text2>', 'comes before', 'Does <gen_text1> come before <gen_text2>?')],
   [('<gen_img1>', 'Is there a seed?', []), ('<gen_img2>', 'Is there a sprout?', [])]),
  ('Prediction', ['What happens next? One text, then two pictures.', '@seed'],
   ['It sprouts and becomes a tree.', '@sprout', '@tree'],
   [('<gen_img1>', '<gen_img2>', 'comes before', 'Is <gen_img1> earlier than <gen_img2>?')],
   [('<gen_img1>', 'Is there a sprout?', []), ('<gen_img2>', 'Is there a tree?', [])]),
  ('visual storytelling text-image', ['Tell of a boat trip: a text, a picture.'], ['We sailed out.', '@boat'],
   [('<gen_text1>', '<gen_img1>', 'tells of', 'Does <gen_text1> tell of this image?')],
   [('<gen_img1>', 'Is there a boat?', [])]),
  ('Object_VQA', ['How many bars has this chart? Answer in words.', '@bars'], ['It has four bars.'],
   [('<gen_text1>', '<query_img1>', 'describes', 'Is <gen_text1> true of this image?')], None),
)  # fmt: skip


def isg():
  folder = ROOT / 'isg'
  rows, answers = [], {'careful': [], 'hasty': []}
  for number, (subtask, query, golden, relations, questions) in enumerate(ISG):
    id = f'{number:04d}'
    predict = {
      'structure': {'Query': _names('query', query), 'Answer': _names('gen', golden)},
      'block_tuple': {'relation': [[a, b, how] for a, b, how, _ in relations]},
      'block_qa': {
        'questions': [
          {'subject': a, 'object': b, 'relation': how, 'Question': words} for a, b, how, words in relations
        ]
      },
    }
    if questions is not None:
      predict['image_tuple'] = [['entity', 'it', image] for image, _, _ in questions]
      listed = [
        {'image': image, 'Question': words, 'id': k, 'Preliminary': needs}
        for k, (image, words, needs) in enumerate(questions)
      ]
      # Both forms that the loader knows.
      predict['image_qa'] = listed if number % 2 else {'questions': listed}
    rows.append(
      {
        **{'id': id, 'Category': subtask},
        'Query': _isg_parts(folder, f'images/{id}_q', query),
        'Golden': _isg_parts(folder, f'images/{id}_g', golden),
        'predict': predict,
      }
    )
    same = _isg_parts(folder, f'answers/{id}_c', golden)
    answers['careful'].append({'id': id, 'Category': subtask, 'output': same})
    short = golden if number % 2 else [part for part in golden if not part.startswith('@')] or golden
    made = _isg_parts(folder, f'answers/{id}_h', short)
    answers['hasty'].append({'id': id, 'Category': subtask, 'output': made})
  write_lines(folder / 'ISG-Bench.jsonl', rows)
  for system, made in answers.items():
    write_lines(folder / f'{system}.jsonl', made)


def _names(prefix, parts):
  names, counts = [], {'text': 0, 'img': 0}
  for part in parts:
    kind = 'img' if part.startswith('@') else 'text'
    counts[kind] += 1
    names.append(f'<{prefix}_{kind}{counts[kind]}>')
  return names


def _isg_parts(folder, stem, parts):
  made, number = [], 0
  for part in parts:
    if not part.startswith('@'):
      made.append({'type': 'text', 'content': part})
      continue
    number += 1
    save(folder / f'{stem}{number}.png', part[1:])
    made.append({'type': 'image', 'content': f'{stem}{number}.png'})
  return made


# LLMI-Bench: (prompt, pictures, criteria by name, tools); one has a gap among its criteria.
LLMI = (
  ('Explain how a tree grows, with pictures where they help.', [],
   {'r1': 'Names at least two stages.', 'r2': 'Each picture shows the stage beside it.'}, ['diffusion']),
  ('Report on sales of 2, 4, 3 and 6 lemonades with a chart.', [],
   {'r1': 'The chart shows 2, 4, 3 and 6 in this order.', 'r2': 'The fall on day three is mentioned.',
    'r4': 'The text has a conclusion.'}, ['code']),
  ('Describe a small harbour and show a real photograph of one.', [],
   {'r1': 'Names a boat.', 'r2': 'There is one photograph.'}, ['search']),
  ('Compare two ways of painting a house, with a picture of each.', [],
   {'r1': 'Two pictures of one house.', 'r2': 'The text compares them.'}, ['diffusion', 'edit']),
  ('Write a short guide to sorting numbers with a chart before and one after.', [],
   {'r1': 'Two charts.', 'r2': 'The second one is sorted.'}, ['code']),
  ('Paint this house blue and say what changed. <image>', ['house'],
   {'r1': 'The house is blue in the new picture.', 'r2': 'The door is unchanged.'}, ['edit']),
  ('What do these have in common?', ['tree', 'two trees'],
   {'r1': 'Says that both show trees.', 'r2': 'Counts them rightly.'}, []),
  ('Sort this chart <image> and explain the order.', ['bars'],
   {'r1': 'The new chart is sorted.', 'r2': 'The order is explained.'}, ['code']),
)  # fmt: skip
SHOWN = ('sprout', 'bars', 'boat', 'house', 'bars sorted', 'blue house', 'tree', 'bars sorted')


def llmi_bench():
  folder = ROOT / 'llmi_bench'
  rows, answers = [], []
  for number, (prompt, shown, criteria, tools) in enumerate(LLMI, 1):
    row = {'prompt': prompt}
    for k, what in enumerate(shown):
      name = f'images/{number:02d}_{k}.png'
      save(folder / name, what)
      row.setdefault('images', []).append(name)
    rows.append(row | criteria | {'tools': tools})
    name = f'answers/{number:02d}.png'
    save(folder / name, SHOWN[number - 1])
    output = [
      {'type': 'text', 'content': 'This is what was asked for, in a sentence or two.'},
      {'type': 'image', 'content': name},
      {'type': 'text', 'content': 'So much for that.'},
    ]
    answers.append({'id': f'{number:03d}', 'output': output})
  (folder / 'records.json').write_text(json.dumps(rows, indent=1))
  write_lines(folder / 'careful.jsonl', answers)


# In-domain: (prompt, question, image_num, tools, pictures).
IN_DOMAIN = (
  ('Say in two sentences why leaves turn in autumn, without a picture.', -1, [], []),
  ('Show one photograph of a tabby cat and describe it.', 1, ['search'], []),
  ('Draw the numbers 3, 5, 8 as bars and describe them.', 1, ['code'], []),
  ('Write about sailing, with as many pictures as you like.', 0, [], []),
  ('Show at least one picture of an astronaut and say who it is.', 99, ['search'], []),
  ('Show a cat and a chart of 1, 2, 4.', 2, ['code', 'search'], []),
  ('What is a histogram? Show one of 1, 1, 2, 3.', 1, ['code'], []),
  ('Describe coffee with one photograph.', 1, ['search'], []),
)
IN_DOMAIN_MM = (
  ('Turn this picture <image> grey.', 1, ['edit'], ['house']),
  ('Mirror this picture: <image>', 1, ['edit'], ['boat']),
  ('What is on <image> and on <image>? No new pictures.', -1, [], ['tree', 'two trees']),
  ('Draw the numbers of this chart <image> sorted.', 1, ['code'], ['bars']),
)


def in_domain():
  folder = ROOT / 'in_domain'
  folder.mkdir(parents=True, exist_ok=True)
  texts = [
    {'data_source': 'interleaved', 'prompt': prompt, 'extra_info': _extra(prompt, rule, tools)}
    for prompt, rule, tools, _ in IN_DOMAIN
  ]
  pq.write_table(pa.Table.from_pylist(texts), folder / 'test.parquet')
  shown = [
    {
      'data_source': 'interleaved_mm',
      'prompt': [{'role': 'user', 'content': prompt}],
      'images': [{'bytes': png(what), 'path': None} for what in pictures],
      'extra_info': _extra(prompt.replace('<image>', '').strip(), rule, tools),
    }
    for prompt, rule, tools, pictures in IN_DOMAIN_MM
  ]
  pq.write_table(pa.Table.from_pylist(shown), folder / 'test_mm.parquet')


def _extra(question, rule, tools):
  return {'split': 'test', 'question': question, 'image_num': rule, 'tools': tools}


def main():
  for make in (opening, isg, llmi_bench, in_domain):
    make()
  size = sum(path.stat().st_size for path in ROOT.rglob('*') if path.is_file())
  print(f'{size:,} bytes below {ROOT}.', file=sys.stderr)


if __name__ == '__main__':
  main()
