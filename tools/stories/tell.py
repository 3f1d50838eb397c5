"""Print stories of the grammar.

    python3 tools/stories/tell.py [count [seed]]
"""

import sys
from itertools import islice

from grammar import stories

if __name__ == "__main__":
    count, seed = (int(value) for value in (sys.argv[1:] + ["5", "0"][len(sys.argv) - 1 :]))
    for text in islice(stories(seed), count):
        print(text, end="\n\n")
