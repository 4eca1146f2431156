"""What a user can do about errors of the system: full disks, folders that became read-only, limits, GPU memory."""

import errno
import os

_AGAIN = "and run the same command again"
_DISK = f"the disk failed. Check it, {_AGAIN}"
ADVICE = {
    errno.ENOSPC: f"no space left on the disk. Free some (or inodes, if `df -i` shows none), {_AGAIN}",
    errno.EDQUOT: f"the quota of the disk is used up. Free some space, {_AGAIN}",
    errno.EROFS: f"nothing can be written there. Make it writable, {_AGAIN}",
    errno.EACCES: f"permission denied. Allow it, {_AGAIN}",
    errno.EPERM: f"permission denied. Allow it, {_AGAIN}",
    errno.ENOTDIR: f"a file has the place of a folder. Move it elsewhere, {_AGAIN}",
    errno.EMFILE: f"too many open files. Raise the limit, as with `ulimit -n 4096`, {_AGAIN}",
    errno.ENFILE: f"too many open files on this machine. Close some, {_AGAIN}",
    errno.EIO: _DISK,
    errno.ESTALE: _DISK,
}
GPU_MEMORY = (
    "the GPU's memory is full. For a training of text or molecules, set training.micro_batch, the rows at once, "
    "which changes results by rounding alone; for any training, a smaller training.batch_size; for other steps, take a "
    "GPU with more memory or one that nothing else uses"
)


def advice(error: BaseException) -> str | None:
    """A message for the user, or None for any other error."""
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which need not be imported to be told
        return f"{GPU_MEMORY} ({' '.join(str(error).split('. ')[:3])})."
    number = getattr(error, "errno", None)
    if number not in ADVICE:  # libraries that keep the text alone
        number = next((known for known in ADVICE if os.strerror(known) in str(error)), None)
    if number is None:
        return None
    detail = str(error).partition('\n  File "')[0]  # Snakemake's messages may hold a traceback
    return f"{ADVICE[number]} ({' '.join(detail.split())})."
