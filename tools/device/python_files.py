"""Print the files that a pattern names inside this Python's packages, one a line.

    python3 tools/device/python_files.py 'nvidia/*/lib'
"""

import glob
import os
import sys

if __name__ == "__main__":
    # The first folder of the path is this script's own.
    for folder in sys.path[1:]:
        for file in glob.glob(os.path.join(folder, sys.argv[1])):
            print(file)
