"""A quiet build: what TensorFlow writes about its own start is left out of the build's output.

TensorFlow's libraries write these lines before any setting of theirs is read, in the build and in
each process that runs pages. All other output passes.
"""

import atexit
import os
import re
import sys
import threading
import warnings

# Lines such as "I0000 00:00:1795722147.245256    4319 port.cc:153] oneDNN custom operations …".
STARTUP = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\) is called"
    rb"|[IW]\d{4} [\d:.]+ +\d+ (port|cudart_stub|cpu_feature_guard)\.cc:\d+\]"
    rb"|E\d{4} [\d:.]+ +\d+ cuda_\w+\.cc:\d+\] failed call to cuInit"  # there is no GPU
    rb"|To enable the following instructions:.*rebuild TensorFlow"
)


def pass_on(source, target):
    """Copy lines until the source ends, without those of TensorFlow's start.

    Parameters
    ----------
    source, target : int
        File descriptors to read and to write. A line that is not complete, such as a prompt, is
        passed on when it ends.
    """
    with open(source, "rb", closefd=True) as lines:
        for line in lines:
            if not STARTUP.match(line):
                os.write(target, line)


def filter_errors():
    """Send what this process and its children write to standard error through the filter."""
    target = os.dup(2)
    source, entrance = os.pipe()
    os.dup2(entrance, 2)
    os.close(entrance)
    copying = threading.Thread(target=pass_on, args=(source, target), daemon=True)
    copying.start()

    def restore():
        """Let the last lines through; a child that outlives the build must not hold it."""
        sys.stderr.flush()
        os.dup2(target, 2)
        copying.join(timeout=2)

    atexit.register(restore)


def setup(app):
    """Start before any other extension imports TensorFlow."""
    filter_errors()
    # joblib replaces a worker that has grown, which costs nothing but its start.
    warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
