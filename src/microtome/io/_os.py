"""The one layer through which every write passes, so that a test can make the n-th call fail.

Callers use these as attributes of the module (``_os.write(...)``); nothing else in the package writes, renames, syncs
or deletes a file by itself.
"""

import os

open = os.open  # noqa: A001
write = os.write
fsync = os.fsync
replace = os.replace
ftruncate = os.ftruncate
unlink = os.unlink
makedirs = os.makedirs

# Windows would translate line ends without O_BINARY; the other systems have no such flag.
CREATE_NEW = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
APPEND = os.O_CREAT | os.O_APPEND | os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
