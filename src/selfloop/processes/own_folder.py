"""A folder in the shared temporary directory that is this user's alone, for sockets and locks.

Why not XDG_RUNTIME_DIR: it goes when its user has logged out, while a study under nohup or tmux goes on, and processes
of cron, ssh and containers do not have it; all of a user's processes on a machine must see the same locks of GPUs.
"""

import errno
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from selfloop.errors import UserError


def own_folder() -> Path:
    """This user's folder in the temporary directory, which is created if it is not there.

    Raises:
        UserError: something else has its name.
    """
    return ensure_own(Path(tempfile.gettempdir(), f"selfloop-{os.getuid()}"))


def ensure_own(folder: Path) -> Path:
    """Create `folder`, with mode 0700, if it is not there.

    Raises:
        UserError: it is not a folder of this user, others may write there, or it cannot be created.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
    except OSError as error:
        raise UserError(f"{folder} cannot be created ({error.strerror}). Set TMPDIR to a folder of yours.") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise UserError(
            f"{folder} is not a folder that is yours and that only you can write to. Delete it, or set TMPDIR to a "
            "folder of yours."
        )
    return folder


def open_own(path: Path) -> int:
    """Open a file for locking, never one that a link leads to or that is another user's; returns its descriptor.

    Raises:
        UserError: it is such a file.
        OSError: it cannot be opened.
    """
    foreign = UserError(f"{path} is not a file of yours. Delete it.")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise foreign if error.errno == errno.ELOOP else error from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
        os.close(descriptor)
        raise foreign
    return descriptor
