"""``python -m prunecli``."""

import sys

from prunecli.cli import main

if __name__ == "__main__":
    sys.exit(main())
