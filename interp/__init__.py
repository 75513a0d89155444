"""The science: tensors and text in, tensors and records out."""

import os

# Threads of an OpenMP library that wait for work by spinning starve everything else on a small
# machine: with a second busy process, a CPU forward pass takes three to six times as long as with
# threads that sleep. It must be said before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
