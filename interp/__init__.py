"""The science: tensors and text in, tensors and records out."""

import os

# Threads of GNU OpenMP that wait for work by spinning starve everything else on a small machine:
# beside a second busy process, a CPU forward pass took three to six times as long. Threads that
# sleep at once cost a process that is alone a quarter of its speed; a short spin costs little of
# either. It must be said before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
