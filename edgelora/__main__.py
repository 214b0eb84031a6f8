"""``python -m edgelora``: the command line without its script.

arguments -> exit code
"""

import sys

from edgelora.cli import main

sys.exit(main())
