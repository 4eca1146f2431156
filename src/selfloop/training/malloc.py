"""How a step uses memory."""

import ctypes


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees from now on, for its next allocation.

    glibc gives every large block back to the kernel, which hands it out again in pages of 4 KiB that it clears first:
    of an image model's step that is a quarter, of the linear simulation a tenth. For loops whose steps all allocate
    blocks of the same sizes: those of varying sizes fragment the memory, and the peak grows. Other C libraries are left
    as they are.
    """
    if not hasattr(libc := ctypes.CDLL(None), "mallopt"):
        return
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    libc.mallopt(mmap_max, 0)
    libc.mallopt(trim_threshold, 2**31 - 1)
