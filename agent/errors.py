"""What the agent cannot do, by what its user can do about it.

AgentError
├── ConfigError       the call or its input is wrong: exit code 2
└── UnsupportedError  this machine cannot do it (privileges, kernel, missing program): exit code 3

Each text is one line that says what is wrong, where, and what to do next.
"""

from typing import ClassVar

__all__ = ["AgentError", "ConfigError", "UnsupportedError"]


class AgentError(Exception):
    """A sentence for the user, and the exit code of a command that ends with it."""

    exit_code: ClassVar[int] = 1


class ConfigError(AgentError):
    """The call or its input is wrong."""

    exit_code = 2


class UnsupportedError(AgentError):
    """This machine, kernel or user cannot do it."""

    exit_code = 3
