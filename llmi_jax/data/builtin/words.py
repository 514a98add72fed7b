"""A large vocabulary for the warm start: common words to compose, syllables to make up new ones.

No word of the validation or test topics stands here; `made_up` never yields one either.
"""

import random

from llmi_jax.data.builtin.topics import TOPICS


def _words(text: str) -> tuple[str, ...]:
  return tuple(text.split())


NOUNS = _words(
  """
  acorn actor airport alley almond anchor angel ankle antelope apple apricot apron arch arena arrow artist
  attic aunt avocado axe baby badger bagel baker balcony ball balloon bamboo banana bandage banjo bank
  banner barber bark barn barrel basin basket bat bath bay beach beacon bead bean bear beard beaver bed
  bee beetle bell belt bench berry bike bird biscuit bison blanket blossom boat bolt bone book boot bottle
  boulder bowl box boy bracelet branch brass bride bridge brook broom brush bubble bucket buffalo bug bulb
  bull bus bush butter butterfly button cabbage cabin cable cactus cage cake calf camel camp canal canoe
  canyon cape captain car caravan card cargo carpet carrot cart castle caterpillar cathedral cave ceiling
  cello chain chair chalk chapel cheese chef cherry chess chest chicken child chimney church cider circus
  city clay cliff cloak cloud clover clown coach coast coat cobra coconut collar comet compass cook copper
  coral cork corn corner cottage cotton couch cousin cow coyote crab cradle crane crater crayon cream
  creek cricket crocodile crow crowd crown crystal cube cucumber cupboard curtain cushion daisy dam dancer
  deck deer desert desk diamond dish diver dock doctor dog doll dolphin donkey door dove dragon drawer
  dress drill driver drum duck dune eagle ear earring easel egg elbow elephant elevator elk elm engine
  envelope falcon family fan farm farmer feather fence fern fiddle field fig finger fire fish fisherman
  flag flame flamingo flask flood floor flute fly fog forest fork fort fountain fox fridge frog fruit
  funnel fur gallery gander garage garlic gate gazelle gem ghost giant giraffe girl glacier glass globe
  glove glue goat goggles gold goose gorilla gown grape grave guitar gull hall ham hammer hammock hamster
  hand hare harp hat hawk hay heart hedge hedgehog helmet hen heron hill hippo hive hood hook horn hose
  house hut ice iceberg igloo iguana inn iris iron island ivy jacket jaguar jam jar jasmine jeep jelly
  jewel jug juice jungle kangaroo kennel kettle key king kitchen kite kitten knee knife knight knot koala
  ladder lady ladybird lake lamb lamp lane lark lava leaf leek lemon leopard lettuce lighthouse lily lime
  lion lizard llama lobster lock log lorry lotus lynx magnet maid mango map maple marble mask mast meadow
  melon mermaid microscope mill mine mirror mist mole monkey monument moon moose moss moth motor mountain
  mouse mouth mud mug mule mural mushroom nail necklace needle nest net newt night nose notebook nurse nut
  oak oasis ocean octopus office olive onion opal orchid organ ostrich otter oven owl ox oyster paddle
  paint palm pan panda pansy panther paper parade parcel park parrot path pea peach peacock peanut pear
  pearl pelican pen pencil penguin pepper piano picnic pie pier pig pigeon pillow pilot pin pine pipe
  pirate planet plate plough plum pocket pond pony pool poppy porch port potato prawn prince pump pumpkin
  puppet puppy purse puzzle pyramid quail quarry queen quilt rabbit raccoon radio raft railway rain
  rainbow raisin ram ranch raven razor reed reef reindeer ribbon rice ring river road robin robot rock
  roof rooster root rope rose ruby rug ruler saddle sail sailor salad salmon salt sand sandal sandwich
  satellite saucer sausage saw scarf scorpion screw sea seal seed shark shed sheep shell shelf ship shirt
  shoe shop shore shovel shrimp shrub singer sink skate skirt skull sky sled slope slug snail snake snow
  soap sock sofa soldier soup spade sparrow spider spoon spring square squid squirrel stable stage stair
  stall statue steak steam steeple stem stone stool stork storm stove strawberry straw stream street sugar
  suit sun swallow swamp swan sweater sword table tail tailor tank tap tapestry tart taxi tea teacher tent
  terrace thimble thistle thorn throne thunder tiger tile timber toad toast tomato tooth torch tortoise
  toucan towel toy tractor train tram trap tray treasure tree trolley trout truck trumpet trunk tulip
  tunnel turkey turnip turtle twig vase valley vegetable veil velvet vest village vine vineyard volcano
  vulture wagon waiter walnut walrus wand wardrobe wasp watch water waterfall wave wax weasel web well
  whale wheat wheel whistle willow wind window wine wing wolf wood wool worm wreath wren yacht yak yard
  zebra zipper
  """
)
ADJECTIVES = _words(
  """
  ancient angry bald bare bent big bitter black bland blue bold brave bright broad broken brown busy calm
  careful cheap cheerful chilly clean clear clever cloudy clumsy coarse cold cool crisp crooked cruel
  curious curly curved damp deep delicate dim dirty dry dull dusty eager early elegant empty faint famous
  fancy fast fat fierce fine firm flat fluffy fresh friendly frozen full funny gentle giant glad gleaming
  golden grand great green grim happy hard heavy hidden high hollow hot huge humble hungry icy idle jolly
  kind large late lazy light little lively lonely long loud lovely low lucky mad merry mighty mild misty
  modern muddy narrow neat new noble noisy odd open pale patient perfect plain playful polite poor pretty
  proud pure purple quick quiet rapid rare raw red rich ripe rough round royal rude rusty sad safe salty
  scared secret shallow sharp shiny short shy silent silky silly silver simple sleepy slender slim slow
  smart smooth soft solid sour spicy square steep sticky stiff strange striped strong sturdy sunny sweet
  swift tame tender thick tidy tired tough twisted ugly vast velvet violet warm weak wet wicked wide wild
  windy wise wooden yellow young
  """
)
PLACES = (
  *(
    'in the rain',
    'in the snow',
    'on a hill',
    'by a lake',
    'by the sea',
    'at night',
    'in a field',
    'on a table',
  ),
  *(
    'in the fog',
    'with a ribbon',
    'on the roof',
    'in a basket',
    'at dawn',
    'in the sun',
    'with a hat',
    'on ice',
  ),
  *('in a valley', 'with a bell', 'by a window', 'in spring'),
)
MEASURES = _words(
  """
  arrivals awards births calls catches claims clicks crops downloads earnings errors exports fares fees
  fines flights gains goals grades harvests heights hires hours imports jobs journeys laps levels likes
  losses marks meals meetings members miles movers needs nights notes numbers offers openings patients
  payments players points profits ratings readings rents returns riders runs savings scores sessions
  shifts signups speeds stays steps stocks streams students tasks taxes temperatures tips tons trips users
  views votes wages weights wins workers
  """
)

_HELD_OUT = TOPICS['validation'].words | TOPICS['test'].words
_STARTS = _words(
  'b bl br c ch cl d dr f fl fr g gl gr h j k kl l m n p pl pr qu r s sh sk sl sp st t th tr v w z'
)
_VOWELS = _words('a e i o u ai ea ee oa oo ou')
_ENDS = _words('b ck d g k l lk ll m mp n nd ng nk nt p r rd rk rn s sk ss st t x')


def made_up(rng: random.Random) -> str:
  """A pronounceable word of one to three syllables that no dictionary has on purpose."""
  while True:
    syllables = (rng.choice(_STARTS) + rng.choice(_VOWELS) for _ in range(rng.choice((1, 1, 2, 2, 2, 3))))
    word = ''.join(syllables) + rng.choice((*_ENDS, '', '', '', 'er', 'y', 'ing', 's'))
    if not {word, plural(word)} & _HELD_OUT:
      return word


def noun(rng: random.Random) -> str:
  """A common noun, or a made-up one in a third of all draws."""
  return made_up(rng) if rng.random() < 0.35 else rng.choice(NOUNS)


def subject(rng: random.Random) -> str:
  """Something that a picture could show, with its article: `a misty harp`, `loose norps`."""
  adjective = rng.random()
  words = [noun(rng)]
  if adjective < 0.55:
    words.insert(0, rng.choice(ADJECTIVES) if adjective < 0.4 else made_up(rng))
  kind = rng.random()
  if kind < 0.2:
    words[-1] = plural(words[-1])
  else:
    words.insert(0, 'an' if words[0][0] in 'aeiou' else 'a')
  if kind > 0.9:
    words.append(rng.choice(PLACES))
  return ' '.join(words)


def series(rng: random.Random) -> str:
  """The name of a row of numbers, such as `harp wages`."""
  measure = plural(made_up(rng)) if rng.random() < 0.3 else rng.choice(MEASURES)
  return f'{noun(rng)} {measure}'


def plural(word: str) -> str:
  """English plural by the common rules; exceptions come out odd and do no harm."""
  if word.endswith(('s', 'x', 'ch', 'sh', 'z')):
    return word + 'es'
  if word.endswith('y') and word[-2] not in 'aeiou':
    return word[:-1] + 'ies'
  return word + 's'
