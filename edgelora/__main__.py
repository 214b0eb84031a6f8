"""``python -m edgelora``: the command line without its script.

Knows nothing about commands.
"""

import sys

from edgelora.cli import main

sys.exit(main())
