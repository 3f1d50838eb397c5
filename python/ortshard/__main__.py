"""`python -m ortshard` is the command `ortshard`."""

import sys

from .cli import main

sys.exit(main())
