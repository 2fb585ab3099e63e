import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import threading
from pathlib import Path
from peerwatch.memory import give_back, share

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def list_once():
    pages = [bytes(5 << 20) for _ in range(2)]


share()
list_once()  # from now on the C library takes such pieces for usual
give_back()
before = resident()
for _ in range(3):
    thread = threading.Thread(target=list_once)
    thread.start()
    thread.join()
give_back()
print(resident() - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not the GNU C library")
def test_also_what_a_thread_had() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1 << 20
