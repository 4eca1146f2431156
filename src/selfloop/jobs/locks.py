"""Locks that the system releases with the process that holds them, however it ends (flock).

Why not `filelock`: the locked files are of use themselves (a step's record, the name of a folder's holder), whether a
step runs is asked with a shared lock on a file that must not be created, which its locks on single files do not have,
and importing it takes longer than many a step.
"""

import errno
import fcntl

_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK)


def lock(descriptor: int, wait: bool = False, shared: bool = False) -> bool:
    """Lock an open file until its descriptor is closed; whether it is locked now.

    Args:
        descriptor: of the file. A process that opens it twice has two locks on it.
        wait: wait while another one holds the lock.
        shared: do not keep out others that ask for a shared lock.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True
