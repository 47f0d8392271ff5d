"""`paddock events rebuild` as a process of the laboratory: ``python -m lab.rebuilding``."""

import os
import sys

from paddock.__main__ import main

if __name__ == "__main__":
    sys.argv = ["paddock", "events", "rebuild", *os.environ["LAB_ARGUMENTS"].split()]
    main()
