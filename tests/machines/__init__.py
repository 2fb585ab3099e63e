"""Machines that boot other kernels, and what peerwatch does on them: `python -m machines`, `make kernels`."""
