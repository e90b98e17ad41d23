"""Nothing harmless imports this: that it was imported can be seen."""

import os
from pathlib import Path

Path(os.environ["ROBUST_CANARY"]).touch()
