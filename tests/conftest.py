"""For all tests."""

import os
import signal

# A shell starts what it runs in the background with Ctrl-C ignored, `nohup` with SIGHUP ignored, and the processes of
# the tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# What `precision: auto` takes, here and in what tests start: it is part of names, and differs between processors.
os.environ["SELFLOOP_AUTO_PRECISION"] = "float32"
