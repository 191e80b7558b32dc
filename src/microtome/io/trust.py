"""How far a file may be trusted."""

import enum


class Trust(enum.Enum):
    """Given per file, never as a global setting."""

    DATA = "data"
    """The file is data: it may be wrong or hostile, and nothing in it runs. The default everywhere."""

    CODE = "code"
    """The file may run code with your rights, as a program you start would."""
