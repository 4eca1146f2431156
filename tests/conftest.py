"""For all tests."""

import signal

# A shell starts what it runs in the background with Ctrl-C ignored, `nohup` with SIGHUP ignored, and the processes of
# the tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
