"""What all tests share."""

from hypothesis import settings

# How long an example takes says more of the machine than of the code: what must be fast is measured in bench/.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
