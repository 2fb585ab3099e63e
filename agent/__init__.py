"""The node side: from the kernel's probes to a stream of events with the pod they belong to. Knows nothing of learning."""

import os

# Nothing here multiplies matrices, but numpy's OpenBLAS starts a thread for each core when it is imported, and each of them
# spins for a while: 80 ms of CPU on 2 cores. Here, because it must be said before the first import of numpy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
