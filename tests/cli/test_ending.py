"""How a process ends that is told to by a supervisor."""

import subprocess
import sys

TOLD_IN_A_DESTRUCTOR = """
import os, signal, time
from integration.__main__ import end_as_interrupted

class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):
            pass

end_as_interrupted()
try:
    Dying()
    time.sleep(20)
    print("went on")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_signal_that_comes_inside_a_destructor_is_not_lost() -> None:
    done = subprocess.run([sys.executable, "-c", TOLD_IN_A_DESTRUCTOR], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")
