"""Short stories for children, drawn from a grammar written for this repository.

A story is a plot: an ordered list of beats, each with several ways to tell it.
`[a|b|c]` in a text is a choice, and may be nested; `{H}` and the like are slots.
The slots of one story are drawn once, so its hero keeps the same name, kind and
pronouns throughout, and a plot's case ties its details together (who is stuck
where, and what gets them out).
"""

import re
from dataclasses import dataclass
from random import Random
from typing import Iterator

GIRLS = """Ada Anna Bella Clara Daisy Ella Emma Fern Flora Hazel Holly Ida Ivy Juno Lily Lola Luna Mabel Maya Mia
Mina Molly Nell Nora Olive Penny Pearl Poppy Rosa Ruby Sofia Tilly Una Vera Willa Wren Zoë Chloé""".split()
BOYS = """Arlo Barnaby Ben Bruno Caspar Dusty Eli Felix Finn Gus Hugo Jasper Jonas Kit Leo Louis Max Milo Moss
Ned Nico Noah Oliver Oscar Otto Pip Remy Rolo Rufus Sam Theo Tim Toby Tom Walter Will André Émile""".split()
ANIMALS = """fox rabbit hedgehog mouse squirrel otter badger duckling kitten puppy frog owl mole beaver lamb sparrow
robin turtle snail raccoon penguin elephant dragon goat bear pony hare crow""".split()
TRAITS = """small little tiny young clever brave shy curious gentle cheerful quiet kind lively sleepy playful
stubborn thoughtful careful eager friendly funny polite proud dreamy""".split()
ELDERS = [
    ("an old owl", "the owl", "she"), ("a wise old turtle", "the turtle", "he"), ("a grey goose", "the goose", "she"),
    ("an old toad", "the toad", "he"), ("a tall heron", "the heron", "she"), ("a woolly sheep", "the sheep", "she"),
    ("an old gardener", "the gardener", "he"), ("a friendly baker", "the baker", "she"),
    ("a kind miller", "the miller", "he"), ("a white cat", "the cat", "she"), ("a large brown bear", "the bear", "he"),
    ("a wandering pedlar", "the pedlar", "he"), ("an old fisherman", "the fisherman", "he"),
    ("a patient donkey", "the donkey", "she"), ("a silver-haired shepherd", "the shepherd", "she"),
]
ANIMAL_HOMES = """in a hollow oak tree|in a cosy burrow under the hill|beside a quiet pond|under the roots of an old willow
in a snug den near the river|at the edge of a deep forest|behind the old mill|in a hole beneath the hedge
at the bottom of a wild garden|in a nest of leaves and moss|among the rocks by the lake""".replace("\n", "|").split("|")
CHILD_HOMES = """in a yellow house near the river|in a village by the sea|on a farm at the foot of a mountain
in a narrow house with a red door|at the end of a long lane|in a small cottage beside the woods|above the bakery in the market square
in a tall house full of clocks|next to the old mill|on an island with one green hill""".replace("\n", "|").split("|")
WEATHER = {
    "sunny": "The sun [shone on the hills|warmed the grass|was bright and high in the sky]",
    "rainy": "Rain [tapped on the leaves|drummed on the roofs|fell softly on the fields]",
    "windy": "The wind [pulled at the branches|hummed in the trees|chased the leaves along the path]",
    "snowy": "Snow [lay thick on the ground|fell in big soft flakes|covered every branch]",
    "foggy": "A grey fog [hung over the fields|hid the tops of the trees|curled along the river]",
    "frosty": "Frost [sparkled on the grass|had drawn flowers on the windows|crackled under every step]",
    "warm": "[The air smelled of clover|Bees hummed in the flowers|A soft breeze came from the south]",
    "cold": "[The air was sharp and clear|Thin ice covered the puddles|Everyone's breath made little clouds]",
    "cloudy": "[Heavy clouds rolled over the hills|The sky was as grey as a goose|Clouds sailed by like slow ships]",
    "golden": "[The fields glowed like honey|Yellow leaves danced in the air|Long shadows lay across the grass]",
}
HOBBIES = """to sing|to climb trees|to count the stars|to collect round stones|to paint pictures|to jump in puddles
to ask questions|to listen to stories|to bake little cakes|to draw maps|to watch the clouds|to dance in the rain
to play hide and seek|to tell jokes|to plant seeds|to look for shells|to whistle old songs""".replace("\n", "|").split("|")
FEELINGS = "happy|proud|glad|warm inside|as light as a feather|happier than ever"

# The first list leaves the second person of the story to be met later.
OPENINGS_ALONE = [
    "Once upon a time, there was {a_hero} [named|called] {H}. {He} lived {home}. {He} loved {hobby}[.|, and {he} did it every [day|morning|evening].]",
    "Once upon a time, {a_hero} [named|called] {H} lived {home}. [{He} loved {hobby}|{He} was never bored|Every {time} brought a new adventure].",
    "Once upon a time, {home}, there lived {a_hero}. {His} name was {H}, and {he} loved {hobby} [more than anything|best of all|very much].",
    "One {weather_word} {time}, {a_hero} [named|called] {H} [woke up early|looked out of the window|stepped outside|could not sit still]. {weather}.",
    "One {weather_word} {time}, {a_hero} [named|called] {H} [went for a walk|set out along the path|put on {his} boots and went out]. {weather}.",
    "One {weather_word} {time}, {a_hero} was [sitting by the window|playing outside|helping {his} mother]. {His} name was {H}, and {he} loved {hobby}.",
    "It was a {weather_word} {time}. {weather}, and {a_hero} named {H} [was feeling bored|was ready for an adventure|hummed a little tune|had nothing to do].",
    "{H} was {a_hero} who lived {home}. {He} loved {hobby}.",
    "Long ago, {home}, there lived {a_hero} named {H}. [Everyone said that {he} was the {trait} one of the family|Everyone knew {him}, because {he} loved {hobby}|All the neighbours liked {him}].",
    "There once was {a_hero} [named|called] {H}, who loved {hobby}. [Every {time}|On every {weather_word} {time}], {he} [sat|waited|played] outside {his} home.",
]
OPENINGS_TOGETHER = [
    "Once upon a time, {a_hero} [named|called] {H} lived {home}. {His} best friend was {a_friend} named {F}.",
    "Once upon a time, there were two friends, {a_hero} named {H} and {a_friend} named {F}. [They met every {time}|They did everything together|{H} loved {hobby}, and so did {F}].",
    "One {weather_word} {time}, {a_hero} [named|called] {H} was on {his} way to see {his} friend {F}. {weather}.",
    "One {weather_word} {time}, {a_hero} named {H} and {his} friend {F} [were playing outside|sat under a tree|met {home}]. {weather}.",
    "{H} was {a_hero} who loved {hobby}, but most of all {he} loved {his} friend {F}.",
    "Far away, {home}, {a_hero} named {H} [dreamed of great adventures|was never without {his} friend {F}].",
]
ENDINGS = [
    "[From that day on|After that|Ever since then], {H} and {F} were [the best of friends|always together|closer than ever].",
    "That night, {H} fell asleep with a smile[.| on {his} face.|, dreaming of {dream}.]",
    "{H} had learned that {lesson}.",
    "\"[Today I learned something|Now I know|I will never forget it],\" {H} [said|whispered|told {F}]. \"{Lesson}.\"",
    "And [whenever|every time] {H} [remembered|thought of] that {time}, {he} felt [%s]." % FEELINGS,
    "[And so|In the end], {H} went home, [tired but happy|humming all the way|with a light heart], because {he} knew that {lesson}.",
    "[When the stars came out|When the moon rose|At bedtime], {H} told {his} [mother|father|grandmother|little sister] the whole story, and they laughed [together|until they were sleepy].",
    "{H} and {F} [walked home hand in hand|shared a warm supper|sat together and watched the sun go down|danced until dark]. It had been [a wonderful day|the best day of all|a day to remember].",
]
DREAMS = "the sea|new friends|tomorrow's adventure|flying over the hills|warm apple pie|a sky full of kites"


@dataclass(frozen=True)
class Plot:
    """Beats to be told in order, the cases they may be about, and what they teach."""

    cases: tuple[dict[str, str], ...]
    beats: tuple[tuple[str, ...], ...]
    lessons: tuple[str, ...]
    # Whether the hero already knows the other one when the story begins.
    friends: bool = True


def cases(keys: str, *rows: str) -> tuple[dict[str, str], ...]:
    """Rows of `/`-separated values under the names in `keys`."""
    names = keys.split()
    return tuple(dict(zip(names, map(str.strip, row.split("/")), strict=True)) for row in rows)


LOST = Plot(
    cases(
        "thing where clue",
        "red scarf / on a branch of the apple tree / something red waving in the wind",
        "silver bell / at the bottom of the garden pond / a soft ringing in the water",
        "blue button / inside an old boot / a tiny blue spark in the dark",
        "little drum / behind the garden shed / a hollow sound when the rain fell",
        "yellow hat / on top of the scarecrow / a patch of yellow in the field",
        "wooden spoon / in the nest of a magpie / a long handle among the twigs",
        "favourite book / under a blanket of leaves / the corner of a page",
        "golden key / between two stones in the wall / a small gleam of gold",
        "paper boat / under the wooden bridge / a white shape on the water",
        "striped sock / in the paws of a sleeping kitten / a bit of striped wool",
        "glass marble / in the hollow of a tree / a green light among the roots",
        "warm mitten / on the handle of the gate / something woolly covered in frost",
    ),
    (
        ("[But that {time}|But then|That day], {his} {thing} was [gone|missing|nowhere to be seen].",
         "{H} had a {thing}, and {he} took it everywhere. [But one day|Then one day] it was [gone|lost].",
         "Then {H} [noticed|saw] that {his} {thing} [had disappeared|was not in its place|was lost].",
         "\"Oh no! Where is my {thing}?\" cried {H}. It [had been there yesterday|was not where it belonged]."),
        ("{He} looked [under the bed|behind the door|in the kitchen], [in every pocket|on every shelf|in the old basket] and [under the table|behind the curtains|in the grass], but [it was not there|there was no {thing} anywhere|{he} found only dust].",
         "{H} searched [all morning|for a long time|everywhere], but [found nothing|had no luck]. {He} [sat down and sighed|began to cry|felt very sad].",
         "{He} asked {elder}, but {the_elder} only shook {elder_his} head. \"I have not seen it,\" {elder_he} said."),
        ("{F_the} [came by|heard {him}|saw {his} sad face]. \"[Do not worry|Do not cry|Cheer up],\" [said {F}|{F} said]. \"[We will find it together|I will help you look|Four eyes see more than two].\"",
         "\"[What is wrong|Why are you so sad]?\" asked {F_the}. {H} told [the whole story|what had happened]. \"Then let us [look together|search again],\" said {F}.",
         "{He} went to {his} friend {F_the}. \"[When did you last have it|Where did you play yesterday]?\" asked {F}. {H} thought [hard|for a while]. Then they [set off together|went to look there]."),
        ("They walked [slowly|step by step] and looked [left and right|very carefully]. Suddenly {F} [stopped|pointed]. There was {clue}!",
         "They [had almost given up|were about to go home] when {H} noticed {clue}.",
         "At [last|once], {F} called, \"Look over there!\" {H} turned around and saw {clue}."),
        ("The {thing} was {where}! {H} [jumped for joy|hugged {F} tightly|laughed out loud].",
         "{He} ran closer, and there it was: the {thing} was {where}. \"Thank you, {F}!\" {H} [cried|said]. \"[I could not have found it without you|You are a true friend].\""),
    ),
    ("a good friend makes every search shorter", "two who look together find more than one",
     "it helps to stay calm and look again", "a true friend is worth more than any treasure"),
)

WISH = Plot(
    cases(
        "wish because try fail idea success",
        "to see the sea / it was very far away / walked until {his} feet hurt / the road was too long / ride on the hay cart / the cart rolled over the last hill, and there was the sea, wide and blue",
        "to fly a kite / there was no wind in the valley / ran up and down the lane / the kite only bumped along the ground / climb the windy hill / the kite rose higher and higher until it was a dot in the sky",
        "to touch a cloud / the clouds were so high / jumped as high as {he} could / the clouds did not even notice / climb the mountain early in the morning / a soft white cloud came down and kissed {him} on the nose",
        "to cross the river / the water was wide and quick / built a bridge of sticks / the sticks floated away / make a raft from an old door / the raft carried them safely to the other side",
        "to taste the highest apple / it hung at the very top of the tree / threw a stick at it / the stick stayed in the tree / stand on each other's shoulders / the apple dropped into the grass, red and sweet",
        "to grow the biggest pumpkin / the ground was hard and dry / pulled at the little plant / it did not grow any faster / carry water from the well every evening / the pumpkin grew so big that six friends had to carry it",
        "to learn a song / the notes would not stay in {his} head / sang it very loudly / all the birds flew away / learn one line every day / {he} sang the whole song from beginning to end",
        "to see a shooting star / {he} always fell asleep too soon / propped up {his} eyes with twigs / {he} fell asleep anyway / sleep in the afternoon and watch at night / a bright star flew across the sky",
        "to skate on the pond / {his} legs were wobbly / stepped onto the ice alone / {he} fell down with a bump / hold on to a chair and go slowly / {he} glided over the ice like a swan",
        "to bake a cake / {he} had no eggs / mixed flour and water / it tasted like glue / trade some berries for eggs / the cake came out of the oven round and golden",
        "to catch the moon / it was so far away / climbed the tallest tree / the moon was still too high / fill a bowl with water / the moon lay shining in the bowl",
        "to send a letter to {his} grandmother / {he} could not write / drew a long wavy line / it did not look like words / paint a picture instead / a week later, a picture came back with a big red heart",
    ),
    (
        ("{H} had one [great|secret|big] wish: {he} wanted {wish}. But {because}.",
         "More than anything, {H} wanted {wish}. There was only one problem: {because}.",
         "\"[How I would love|I want so much|One day I am going] {wish},\" {H} [often said|said to {F}|whispered]. But {because}."),
        ("[First|So|One day], {he} {try}, but {fail}.",
         "{He} did not wait. {He} {try}. It was no use: {fail}.",
         "{H} {try} [once|twice|three times]. Each time, {fail}."),
        ("{F_the} [laughed, but not unkindly|watched quietly|came running]. \"[I have an idea|Maybe there is another way|Let me help you],\" {fhe} said. \"We could {idea}.\"",
         "Then {he} met {elder}. \"[Why do you look so sad|What is the matter], little one?\" asked {the_elder}. {H} explained. {The_elder} [smiled|nodded slowly|thought for a moment]. \"Why not {idea}?\"",
         "\"[I give up|It is too hard|I will never do it],\" {H} sighed. But {F_the} [shook {fhis} head|would not hear of it]. \"Let us {idea},\" {fhe} said."),
        ("{H} [had never thought of that|liked the plan|clapped with joy]. They [began at once|started the very next day|did not waste a minute].",
         "It was [slow work|not easy|harder than it sounded], but {H} [did not give up|kept going|tried {his} best].",
         "\"[What a good idea|That might work|Let us try]!\" said {H}, and [off they went|they set to work]."),
        ("And [at last|then|in the end], {success}.",
         "[It worked|The plan was a good one]! [Soon|Before long|After a while], {success}."),
        ("\"[We did it|It worked|I can hardly believe it]!\" {H} [shouted|cried|whispered]. {His} [eyes shone|heart beat fast|smile was as wide as the sky].",
         "{H} [had never been so happy|laughed with delight|felt as tall as a tree]."),
    ),
    ("a wish needs patience and a good idea", "there is often another way", "even big wishes begin with small steps",
     "it is easier to do hard things with a friend"),
)

STUCK = Plot(
    cases(
        "where how tool free",
        "in the mud beside the pond / had slipped on a wet stone / a long branch / {F} came out of the mud with a loud plop",
        "in a bramble bush / had followed a butterfly / a pair of thick gloves / the last thorn let go",
        "on top of the barn / had climbed up and was afraid to climb down / the farmer's ladder / {F} stood safely on the ground",
        "in a deep hole / had not looked where {fhe} was going / a strong rope / {F} tumbled out into the grass",
        "on a small island in the stream / had been surprised by the rising water / a fallen log / {F} walked across with careful steps",
        "under a heavy branch / had been resting when the wind broke it / a smooth pole / the branch rolled away",
        "in a fishing net / had been chasing a shiny fish / a sharp shell / the net fell open",
        "behind a locked gate / had slept in the garden too long / a bent piece of wire / the lock went click and the gate swung open",
        "in an empty barrel / had smelled the sweet apples inside / a wooden box to stand on / {F} hopped over the edge",
        "in a snowdrift / had jumped in for fun / a big wooden shovel / two ears and a nose came out of the snow",
    ),
    (
        ("[On the way|Suddenly|Just then], {H} heard a [small|thin|frightened] voice. \"Help! [Please help me!|Is anybody there?]\"",
         "{H} was [walking past the old fence|picking berries|watching the ants] when {he} heard [someone crying|a strange noise|somebody calling for help]."),
        ("It was {F_the}, who was stuck {where}. {Fhe} {how}.",
         "{He} [looked around|ran towards the sound] and found {a_friend}, stuck {where}. \"My name is {F},\" said the {friend}. {Fhe} {how}."),
        ("\"[Hold on|Do not be afraid|Stay calm]!\" called {H}. {He} [pulled|pushed and pulled] [with all {his} strength|as hard as {he} could], but {F} [did not move|was still stuck].",
         "{H} [wanted to help|tried at once], but {he} was [too small|not strong enough]. \"[I will be right back|Wait here|I will think of something],\" {he} [promised|said]."),
        ("[Then {he} had an idea|{He} thought for a moment]. {He} [ran to find|looked around for|came back with] {tool}. [Slowly, slowly|One, two, three|Little by little], {free}.",
         "{H} asked {elder} for help. Together they [brought|found] {tool}, and [soon|with one big push|after a while] {free}."),
        ("\"Thank you!\" [said {F}|{F} cried]. \"[You saved me|I was so scared|I thought nobody would come]. [How can I thank you|What can I do for you]?\" \"[Just be my friend|You could play with me|That is what neighbours are for],\" said {H}.",
         "{F} [shook {fhimself} and laughed|hugged {H}|gave {H} a big smile]. \"[One day I will help you too|You are very kind],\" {fhe} said, and [that was a promise|{H} smiled back]."),
        ("And {F} kept that promise. [A week later|The next day|When winter came], {H} [lost {his} way in the fog|dropped {his} lunch into the river|fell ill], and it was {F} who [helped {him}|came to help|stayed by {his} side].",
         "They [spent the rest of the day|played until evening] [by the stream|in the tall grass|under the old tree], and [they were never lonely again|both felt lucky]."),
    ),
    ("kindness always finds its way back", "nobody is too small to help", "a kind heart is stronger than strong arms",
     "helping someone is a good way to make a friend"),
    friends=False,
)

FEAR = Plot(
    cases(
        "fear sign truth step",
        "the dark / the candle went out / the night is full of stars and soft little sounds / {he} sat at the open window and counted the stars",
        "thunder / a storm rolled over the hills / thunder is only the clouds clapping their hands / {he} clapped back at every rumble",
        "deep water / they came to the lake / the water carries you if you lie very still / {he} lay on {his} back and floated like a leaf",
        "high places / the path led over a narrow bridge / it is best to look ahead and not down / {he} took one small step, and then another",
        "strangers / a new family moved in next door / every friend was once a stranger / {he} walked up to the door and knocked",
        "the big dog / a bark came from the farm / he only barks because he is lonely / {he} held out a piece of bread, and the dog licked {his} hand",
        "the old empty house / a window creaked / it is only the wind that lives there / {he} pushed the door open, and inside there was nothing but sunlight and dust",
        "singing in front of others / it was {his} turn to sing / everybody is a little nervous / {he} closed {his} eyes and sang the first note",
        "the first day of school / the school bell rang / all the others are new there too / {he} took a deep breath and went inside",
        "getting lost / the path split in two / you can always follow the river home / {he} listened for the river and chose the left path",
    ),
    (
        ("[There was only one thing {H} did not like|But {H} had a secret]: {he} was afraid of {fear}.",
         "{H} [was not afraid of mice or spiders|was brave in many ways], but {he} was [very|terribly] afraid of {fear}.",
         "Nobody knew that {H} was afraid of {fear}. [Not even {F} knew|{He} never talked about it]."),
        ("[Then one day|A little later|Soon after that], {sign}. {H} [began to shake|hid under a blanket|could not move|closed {his} eyes tightly].",
         "That {time}, {sign}, and {H} [felt {his} knees tremble|wanted to run home|held {his} breath]."),
        ("{F_the} [took {his} hand|sat down beside {him}|noticed it]. \"[I used to be afraid too|Everyone is afraid of something|It is all right to be afraid],\" {fhe} said. \"But {truth}.\"",
         "\"[Are you afraid|What is the matter]?\" asked {F_the}. {H} nodded. \"[Listen|Let me tell you something],\" {F} [said softly|whispered]. \"My grandmother says that {truth}.\"",
         "{Elder} [heard {him}|saw {him} and came closer]. \"Shall I tell you a secret?\" said {the_elder}. \"{Truth}.\""),
        ("{H} [thought about this|was quiet for a moment|was not so sure]. \"[Will you stay with me|Really|Are you certain]?\" {he} asked. \"[Of course|I promise|Yes, I am],\" was the answer.",
         "\"I will try,\" said {H} [in a small voice|at last|bravely]."),
        ("So {step}. [It was not so bad|It was almost fun|Nothing bad happened] [at all|after all].",
         "{His} heart was beating [fast|like a drum], but {step}. [And then {he} smiled|And it felt good]."),
        ("\"[Look at me|I did it|I am not afraid any more]!\" {he} [called|laughed|shouted]. {F} [clapped|cheered|was proud of {him}].",
         "[After that|From then on], {fear} [did not seem so bad|was never so frightening again]."),
    ),
    ("being brave means trying even when you are afraid", "a fear grows smaller when you share it",
     "courage can begin with one small step"),
)

SHARE = Plot(
    cases(
        "food from gift",
        "a basket of strawberries / the sunny side of the hill / a handful of seeds that grew into sunflowers",
        "a loaf of warm bread / the bakery / a map of all the best hiding places",
        "three red apples / the old orchard / a flute made of reed",
        "a bag of nuts / the big hazel bush / a warm coat for the winter",
        "a jar of honey / the beekeeper / a lantern that never went out",
        "a round cheese / the market / a song that nobody else knew",
        "a pot of vegetable soup / {his} grandmother's kitchen / a spoon carved from pear wood",
        "a pie with plums / the kitchen window / a little boat with a white sail",
        "a bunch of sweet carrots / the garden / a soft blanket of wool",
        "six pancakes / the frying pan / a bell that rang like laughter",
    ),
    (
        ("That {time}, {H} [was carrying|had] {food} from {from}. The smell was [wonderful|so good] that {he} wanted to eat everything [at once|all alone].",
         "{H} had been given {food}, fresh from {from}. \"[This is all for me|I will not share with anybody]!\" {he} [thought|said to {himself}]."),
        ("[On the way home|At the corner|Under a tree], {he} met {a_friend} named {F}. {Fhe} looked [thin and tired|cold and hungry]. \"[I have not eaten since yesterday|Could I have a little bite]?\" {F} [said|asked] [softly|politely].",
         "Then {a_friend} came [along the road|out of the bushes]. {Fhis} name was {F}, and {fhis} stomach [rumbled|growled] loudly. \"[Excuse me|Please], [may I have a taste|do you have something to eat]?\""),
        ("{H} [looked at the food|did not know what to do|frowned]. There was [not very much|just enough for one]. But [{F}'s eyes were so sad|it is not nice to eat alone|{he} remembered how it felt to be hungry].",
         "\"No,\" said {H}, and {he} walked on. But after [ten steps|a little while], {he} [stopped|felt bad|turned around]. [The food did not smell so good any more|{He} thought of {F}'s sad face]."),
        ("\"[Come and sit with me|Here, take half|Let us share],\" {H} said. They [sat down on a log|sat in the shade] and ate together, and [it tasted better than ever|every bite tasted twice as good].",
         "So {he} [divided the food into two parts|gave {F} the bigger half]. They ate and talked [until nothing was left|and laughed like old friends]."),
        ("[The next morning|A few days later|When spring came], {F} came back with a present: {gift}. \"[For you|This is for you], because you shared with me,\" {fhe} said.",
         "[When they had finished|Before {fhe} left], {F} gave {H} {gift}. \"[A small thank you|It is all I have],\" {fhe} said, \"but it [comes from the heart|is yours now].\""),
        ("{H} [did not know what to say|blushed|was so surprised that {he} laughed]. [It was the best present of {his} life|{He} kept it for ever].",
         "\"[It is beautiful|Thank you]!\" said {H}, and {he} [was glad that {he} had turned back|promised to share again]."),
    ),
    ("food tastes best when it is shared", "those who share are never poor", "a little kindness can grow into a great friendship"),
    friends=False,
)

MAKE = Plot(
    cases(
        "thing first_try problem part joy",
        "a kite / from newspaper / it tore in the first gust of wind / a piece of strong cloth / danced above the rooftops",
        "a boat / from a wooden box / it leaked on every side / a little pot of wax / sailed across the pond without a drop of water inside",
        "a swing / from an old rope / the rope snapped / a new rope from the harbour / went so high that they could see the church tower",
        "a lantern / from thin paper / it went out in the wind / a small glass jar / glowed like a little sun",
        "a scarecrow / from straw / it fell over / a strong wooden post / stood in the field with its arms wide open",
        "a drum / from a cracked pot / it made no sound / a tight piece of leather / boomed so loudly that the frogs jumped",
        "a tree house / from loose boards / the floor wobbled / a box of good nails / was as steady as a ship in the harbour",
        "a birdhouse / from cardboard / the rain made it soft / some planks of oak / had a family of blue birds in it by summer",
        "a cart / from an old crate / one wheel came off / a round slice of a log / rolled down the hill like the wind",
        "a warm quilt / from dry leaves / it crumbled / a bag of colourful rags / was as bright as a meadow in May",
    ),
    (
        ("That {time}, {H} decided to make {thing}. \"[I can do it alone.|It will be the best one ever.|How hard can it be?]\" {he} said.",
         "\"I am going to make {thing},\" {H} told {F_the}. \"[May I help|Do you know how]?\" asked {F}. But {H} wanted to do it alone.",
         "{H} had seen {thing} [at the market|in a book|in a dream], and now {he} wanted to make one."),
        ("{He} made it {first_try}. It [looked fine|took all day|was almost finished], but then {problem}.",
         "{He} worked [all morning|very hard|without a break] and made it {first_try}. But as soon as {he} tried it, {problem}."),
        ("\"[Oh, bother|This is hopeless|I will never get it right]!\" {H} [cried|groaned|grumbled]. {He} [kicked a stone|sat down in the grass|wanted to give up].",
         "{H} [stared at it|hung {his} head|sighed deeply]. \"All that work for nothing,\" {he} said."),
        ("{F_the} looked at it [closely|from all sides]. \"[It is not so bad|You were very close|Nothing is right the first time],\" {fhe} said. \"All it needs is {part}.\"",
         "{Elder} was passing by. \"The first one always breaks,\" said {the_elder} [with a smile|kindly]. \"Try it with {part}.\"",
         "{He} went to {F}, [a little ashamed|with red cheeks]. \"Will you help me after all?\" {he} asked. \"Of course,\" said {F_the}. \"I even have {part}.\""),
        ("[So they started again|They began from the beginning]. {H} [held the pieces|measured everything twice] while {F} [tied the knots|hummed a tune|handed {him} the tools], and [by evening|soon|two days later] it was [done|ready].",
         "This time {H} worked [slowly|carefully|with {F} at {his} side], and {he} [did not hurry|checked every corner]. [At last it was ready|When the sun went down, it was done]."),
        ("And what {thing} it was! It {joy}.",
         "They [held their breath|crossed their fingers|counted to three]. It worked! It {joy}."),
    ),
    ("a mistake is just the first step", "good things take time", "it is no shame to ask for help",
     "trying again is the best trick of all"),
)

RACE = Plot(
    cases(
        "contest event rival_trouble prize",
        "the big race around the lake / everyone lined up at the old oak / twisted an ankle / a golden ribbon",
        "the boat race / all the little boats lay in the water / ran into the reeds / a flag with a star",
        "the sledge race / the snow was perfect / tumbled into a deep snowdrift / a cup of hot chocolate for every day of winter",
        "the race to the top of the hill / the whole valley came to watch / slipped on the loose stones / a crown of daisies",
        "the swimming race / the river was calm and clear / got caught in the water plants / a shell that sang like the sea",
        "the cart race / the carts stood ready on the hill / lost a wheel / a shiny brass trumpet",
        "the treasure hunt / the first clue was read aloud / fell into a ditch / a chest full of sweets",
    ),
    (
        ("[It was|The next day was] the day of {contest}. {H} had [trained for weeks|waited for it all year|hardly slept]. The prize was {prize}.",
         "[Everybody was talking about|At last it was time for] {contest}. The winner would get {prize}, and {H} [wanted to win|had dreamed of it every night]."),
        ("{Event}. \"[I am the fastest|You cannot beat me|I will surely win]!\" [boasted|said] {F_the}. {H} [said nothing|only smiled|swallowed hard].",
         "{Event}. Next to {H} stood {F_the}. \"Good luck,\" [said {H}|{H} said]. \"[I do not need luck|The same to you],\" {F} answered."),
        ("[Ready, steady, go|Three, two, one, go]! {H} [ran like the wind|flew ahead|did {his} very best], but {F} was [faster|ahead|right beside {him}].",
         "A whistle blew, and [off they went|away they all went]. {F} [took the lead|was soon in front], and {H} followed [close behind|with all {his} might]."),
        ("[Then|Suddenly|Near the end], {F} {rival_trouble}. \"Ouch!\" {fhe} [cried|called out]. Everybody else [rushed past|did not even look].",
         "But [halfway|just before the finish], {F} {rival_trouble}. Now the way was free, and {H} [could win|was in front of everyone]."),
        ("{H} [stopped at once|did not think twice|looked at the finish, and then at {F}]. {He} [went back|turned around] and [helped {F} up|reached out a hand]. \"[Lean on me|Come on|We will finish together],\" {he} said.",
         "{H} [could see the finish|heard the crowd]. But {he} could not [leave {F} there|just go on]. \"[Are you hurt|Do you need help]?\" {he} asked, and {he} [helped {F} up|stayed with {fhim}]."),
        ("They came in last, [side by side|arm in arm], and [everyone cheered|the crowd clapped louder than for the winner]. The judge gave them both {prize}.",
         "Somebody else won {prize}, but {H} [did not mind|was not sad]. {F} [squeezed {his} hand|looked at {him}]. \"[You are the real winner|I was rude, and you were kind],\" {fhe} said."),
    ),
    ("winning is nice, but a friend is nicer", "being kind matters more than being first",
     "nobody remembers the prize, but everybody remembers kindness"),
    friends=False,
)

SOUND = Plot(
    cases(
        "sound guess source help",
        "a strange tapping / a ghost with wooden shoes / a woodpecker looking for supper / showed it a tree full of beetles",
        "a deep humming / a sleeping giant / a swarm of bees without a home / gave them an old basket to live in",
        "a soft whimper / a baby monster / a lost puppy behind the woodpile / brought it back to its mother",
        "a loud rattle / a skeleton on a bicycle / a loose shutter in the wind / tied it up with a ribbon",
        "a sad howl / a hungry wolf / the wind in an empty bottle / put a flower in the bottle",
        "a quick scratching / a thief with long nails / a hedgehog stuck in a flowerpot / turned the pot on its side",
        "a splash and a gurgle / a water dragon / a family of ducks in the rain barrel / laid a plank across the barrel",
        "a slow creaking / a pirate on the stairs / an old gate that needed oil / gave it three drops of oil",
        "a high ringing / a fairy in trouble / an icicle swinging against the window / listened until it melted",
    ),
    (
        ("That night, {H} heard {sound}. It came [from the garden|from outside|from somewhere in the dark].",
         "[In the middle of the night|Just before bedtime|When all the lights were out], there was {sound}. {H} sat up [straight|in bed]. [What was that|Who could it be]?"),
        ("\"It must be {guess},\" {he} [thought|whispered], and {he} pulled the blanket over {his} [ears|head|nose].",
         "\"[Did you hear that|What is it]?\" {he} asked {F_the}, who was staying for the night. \"[Maybe|I think] it is {guess},\" {F} [whispered|said with wide eyes]."),
        ("But the noise [did not stop|came again|grew louder]. {H} [could not sleep|was frightened, but also curious]. [At last|Finally], {he} [took a lantern|lit a candle|put on {his} boots] and woke {F}. \"[Let us go and see|Come with me],\" {he} said.",
         "They [listened|waited]. There it was again! \"[We have to look|There is only one way to find out],\" said {H}. [Hand in hand|On tiptoe|Side by side], they [crept to the door|went outside]."),
        ("[It was cold and dark|The moon hid behind a cloud|The grass was wet]. They [followed the sound|went closer, step by step], [and {H} held up the light|and {F} held {his} hand tightly].",
         "[An owl flew by without a sound|A twig snapped, and they both jumped|Their shadows were long and thin]. The sound was [very near|right in front of them] now."),
        ("And then they [saw it|laughed out loud]. It was not {guess} at all. It was {source}!",
         "\"[Oh|Look]!\" cried {H}. \"It is only {source}!\" They [looked at each other|sighed with relief] and [began to laugh|giggled]."),
        ("They {help}. Then they went [back to bed|home], and [slept until late in the morning|everything was quiet].",
         "[So|Kindly], they {help}. After that, the night was [still and peaceful|quiet again], and they [drank warm milk|slept like stones]."),
    ),
    ("many scary things are small when you look at them", "a little light chases away a big fear",
     "it is better to look than to guess"),
)

PRESENT = Plot(
    cases(
        "idea trouble instead",
        "a necklace of daisies / the goat ate it / a kiss on both cheeks and a song",
        "a cake with cherries / it fell on the floor / a plate of pancakes with jam",
        "a silver comb / it cost too much / a comb made from a smooth piece of wood",
        "a bunch of wild roses / the wind blew away the petals / a jar of rose petals that smelled of summer",
        "a big balloon / it burst on a thorn / a long story told by the fire",
        "a bowl made of clay / it cracked in the oven / the pieces glued into a picture of a bird",
        "a basket of cherries / the birds were quicker / a cherry stone planted in a pot",
        "a warm shawl / the wool ran out / a very small scarf that was just right for a teapot",
    ),
    (
        ("It was {kin}'s birthday, and {H} wanted to give her {idea}.",
         "The next day was {kin}'s birthday. \"What shall I give her?\" {H} asked {F_the}. \"What about {idea}?\" said {F}. {H} thought that was [perfect|a fine idea]."),
        ("{He} [worked at it all day|set to work|put on {his} best hat and went out]. But [it was {his} unlucky day|something went wrong]: {trouble}.",
         "Everything went well [at first|until noon]. Then there was trouble: {trouble}. {H} [burst into tears|could not believe it]."),
        ("\"[What now|What shall I do]?\" {he} [wailed|asked]. \"The party is [in an hour|tonight]!\" {F} [patted {his} shoulder|thought hard]. \"[A present does not have to be perfect|Use what you have],\" {fhe} said.",
         "{Elder} [listened to {his} story|gave {him} a handkerchief]. \"The best presents [come from the heart|cannot be bought],\" said {the_elder}."),
        ("{H} [dried {his} tears|looked around|sat and thought]. Then {he} [smiled|had a new idea], and [ran home|got to work].",
         "\"[You are right|I know what to do]!\" {H} [said|cried], and {he} [rolled up {his} sleeves|hurried home]."),
        ("That evening, {kin} [opened the door|sat at the table], and {H} gave her {instead}. \"I wanted to give you {idea},\" {he} said, \"but [it went wrong|I had bad luck].\"",
         "At the party, {H} was [nervous|very quiet]. {His} present was {instead}. Would {kin} like it?"),
        ("{Kin} [laughed|had tears in her eyes] and hugged {him}. \"This is [the nicest present|better than anything] [in the world|I have ever had],\" she said, \"because it is from you.\"",
         "\"[How lovely|Oh, {H}]!\" she said. \"[I will keep it always|Nobody ever gave me such a thing].\" And she [kissed {him}|held {him} for a long time]."),
    ),
    ("the best presents come from the heart", "love is worth more than gold", "a small gift can be a great one"),
)

NEWCOMER = Plot(
    cases(
        "odd useful moment",
        "very long ears / hear the quietest sounds / a baby bird fell from its nest, and nobody knew where it was",
        "a very loud voice / be heard from far away / two little ones drifted away in a boat and had to be called back",
        "bright orange boots / be seen in any fog / everybody got lost in the fog on the moor",
        "a funny way of walking / balance on anything / the ball landed on a thin branch above the water",
        "enormous pockets / carry all kinds of things / the picnic basket broke in the middle of the wood",
        "a habit of collecting string / tie any knot / the little bridge came loose in the flood",
        "round thick glasses / see very far / the sheep had wandered off to the far hills",
        "a very long nose / smell smoke before anyone else / a spark set the hay on fire",
    ),
    (
        ("[One day|That {time}], somebody new came to live nearby. It was {a_friend} named {F}, and {fhe} had {odd}.",
         "That week, {a_friend} moved in [next door|across the stream]. {Fhis} name was {F}. {Fhe} had {odd}, and [everyone stared|the others whispered about it]."),
        ("\"[How strange {fhe} looks|What a funny {friend}]!\" the others [laughed|said]. Nobody wanted to play with {fhim}. {F} [sat alone under a tree|pretended not to hear|went home without a word].",
         "The others [giggled|pointed] and ran away. {F} [looked at the ground|felt very lonely]."),
        ("{H} [did not laugh|felt sorry for {fhim}|thought about it all night]. [The next day|After lunch], {he} [went over|walked up to {fhim}] and said, \"[Hello, I am {H}.|Would you like to play?]\" {F} [smiled shyly|was so surprised that {fhe} dropped {fhis} sandwich].",
         "Only {H} stayed. \"I like it,\" {he} said. \"[It is special|It makes you different].\" {F} looked up. \"[Really|Do you mean that]?\" {fhe} asked."),
        ("[Not long after|A few days later|That same week], {moment}. [Everyone was worried|Nobody knew what to do|They all ran here and there].",
         "Then something happened: {moment}. \"[What can we do|Who can help us]?\" the others [cried|asked]."),
        ("\"Let me try,\" said {F}. Because {fhe} had {odd}, {fhe} could {useful}. [In no time|Very soon|A little later], everything was [all right again|fine].",
         "\"[Ask {F}|{F} can help]!\" said {H}. And it was true: with {odd}, {F} could {useful}. [Soon the trouble was over|The day was saved]."),
        ("The others [were ashamed|said they were sorry]. \"[Please play with us|We were wrong],\" they said. {F} [forgave them|laughed and nodded], but {fhe} [sat next to {H}|held {H}'s hand].",
         "Now everybody wanted [to be {F}'s friend|to sit next to {F}]. But {F} [never forgot|always remembered] who had been kind first."),
    ),
    ("what makes you different can make you strong", "a kind word costs nothing", "everyone has something special"),
    friends=False,
)

PLOTS = (LOST, WISH, STUCK, FEAR, SHARE, MAKE, RACE, SOUND, PRESENT, NEWCOMER)
PRONOUNS = {"he": ("he", "him", "his", "himself"), "she": ("she", "her", "her", "herself")}


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def expand(text: str, slots: dict[str, str], random: Random) -> str:
    """Make the choices, innermost first, and fill the slots until none is left."""
    while "[" in text or "{" in text:
        text = re.sub(r"\[([^\[\]]*)\]", lambda choice: random.choice(choice[1].split("|")), text)
        text = re.sub(r"\{(\w+)\}", lambda slot: slots[slot[1]], text)
    return text


def article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def person(random: Random, prefix: str, names: set[str]) -> dict[str, str]:
    """Pronoun slots, each plain and capitalised, and the name that goes with them."""
    girl = random.random() < 0.5
    forms = PRONOUNS["she" if girl else "he"]
    slots = {prefix + key: form for key, form in zip(("he", "him", "his", "himself"), forms)}
    slots |= {capital(key): capital(form) for key, form in slots.items()}
    slots["name"] = random.choice(sorted(set(GIRLS if girl else BOYS) - names))
    slots["child"] = "girl" if girl else "boy"
    return slots


def draw_slots(plot: Plot, random: Random) -> dict[str, str]:
    """Everything that must stay the same from a story's first word to its last."""
    hero = person(random, "", set())
    friend = person(random, "f", {hero["name"]})
    slots = hero | friend | {"H": hero["name"], "F": friend["name"]}
    trait, friend_trait = random.sample(TRAITS, 2)
    human = random.random() < 0.25
    kind = hero["child"] if human else random.choice(ANIMALS)
    slots["friend"] = friend["child"] if human else random.choice(sorted(set(ANIMALS) - {kind}))
    # Among animals one says which animal somebody is; among children one does not.
    slots["F_the"] = "{F}" if human else "{F} the {friend}"
    slots |= {"trait": trait, "a_hero": article(f"{trait} {kind}")}
    slots["a_friend"] = article(f"{friend_trait} {slots['friend']}")
    slots["home"] = random.choice(CHILD_HOMES if human else ANIMAL_HOMES)
    slots["hobby"] = random.choice(HOBBIES)
    slots["weather_word"], slots["weather"] = random.choice(sorted(WEATHER.items()))
    slots["time"] = random.choice(["morning", "afternoon", "evening", "day"])
    slots["dream"] = random.choice(DREAMS.split("|"))
    slots["elder"], slots["the_elder"], elder_he = random.choice(ELDERS)
    slots["elder_he"], slots["elder_his"] = elder_he, PRONOUNS[elder_he][2]
    slots["kin"] = f"{{H}}'s {random.choice(['mother', 'grandmother', 'aunt', 'sister'])}"
    slots["lesson"] = random.choice(plot.lessons)
    slots |= random.choice(plot.cases)
    for key in ("Elder", "The_elder", "Lesson", "Truth", "Event", "Kin"):
        slots[key] = capital(slots.get(key.lower(), ""))
    return slots


def introduce(text: str, friend: str, his: str) -> str:
    """Say who the friend is at the first mention, unless the text does so itself."""
    before, name, after = text.partition(friend)
    if not name or before.endswith(("named ", "friend ", "name is ", "name was ")) or after.startswith(" the "):
        return text
    his = capital(his) if before.endswith((". ", "? ", "! ", ".\" ")) else his
    return f"{before}{his} friend {name}{after}"


def story(random: Random) -> str:
    plot = random.choice(PLOTS)
    slots = draw_slots(plot, random)
    opening = random.choice(OPENINGS_ALONE + OPENINGS_TOGETHER if plot.friends else OPENINGS_ALONE)
    told = [opening, *map(random.choice, plot.beats), random.choice(ENDINGS)]
    text = " ".join(capital(expand(sentence, slots, random)) for sentence in told)
    return introduce(text, slots["F"], slots["his"])


def stories(seed: int) -> Iterator[str]:
    """Distinct stories of 60 to 160 words, without end."""
    random, seen = Random(seed), set()
    while True:
        text = story(random)
        if 60 <= len(text.split()) <= 160 and text not in seen:
            seen.add(text)
            yield text
