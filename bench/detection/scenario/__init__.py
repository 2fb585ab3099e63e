"""Recordings of a cluster that never was: normal life of 38 workloads, all rows of the noise catalogue, and labelled attacks.

The same seed gives the same recording. Names, programs, arguments and addresses are drawn from large pools, so that nothing
that a detector could know by heart says what is an attack.
"""

from scenario.generate import ARMS, SIZES, Arm, Recording, Size, generate

__all__ = ["ARMS", "SIZES", "Arm", "Recording", "Size", "generate"]
