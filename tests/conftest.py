"""What all tests share."""

import os
import signal
import sys

from hypothesis import settings

# How long an example takes says more of the machine than of the code: what must be fast is measured in bench/.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# A background job of a shell ignores Ctrl-C, and with it every process on which a test presses it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Hundreds of processes are started here; each would compile our code and the libraries anew, which is half of what it takes.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
