"""What all tests share."""

import signal

from hypothesis import settings

# How long an example takes says more of the machine than of the code: what must be fast is measured in bench/.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# A background job of a shell ignores Ctrl-C, and with it every process on which a test presses it.
signal.signal(signal.SIGINT, signal.default_int_handler)
