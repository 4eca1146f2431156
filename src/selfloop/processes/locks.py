"""Locks that the kernel releases with the process that holds them, however it ends (flock).

Why not `filelock`: the locked files have contents (a step's record, a folder's holder); whether a step runs is asked
with a shared lock that must not create the file, which its `FileLock` cannot do; and its import takes longer than many
a step.
"""

import errno
import fcntl

_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK)


def lock(descriptor: int, wait: bool = False, shared: bool = False) -> bool:
    """Lock an open file until its descriptor is closed; returns whether it succeeded.

    Args:
        descriptor: of the file. Opened twice by one process, it can be locked by only one of the two.
        wait: block while the lock is held elsewhere.
        shared: a shared lock, which only an exclusive one conflicts with.

    Raises:
        OSError: the file system does not support locks.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True
