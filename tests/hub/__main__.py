"""Entry point of `python3 -m tests.hub` and `python3 tests/hub`."""

import os
import sys

if __package__:
    from .app import main
else:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[0] = os.path.dirname(here)
    main = __import__(os.path.basename(here) + ".app", fromlist=["main"]).main

main()
