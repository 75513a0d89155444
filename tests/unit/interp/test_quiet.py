"""Libraries write nothing on the terminal, and nothing into the logs of workers."""

import subprocess
import sys
from pathlib import Path

from tests import REPOSITORY
from tests.checkpoints import living_folders

LOADS = """
import sys
import torch
from interp.coders.load import load_coder
from interp.model.subject import load_causal_lm

model, coder, hookpoint = sys.argv[1:]
cpu = torch.device("cpu")
load_causal_lm(model, dtype=torch.float32, device=cpu)[0].save_pretrained(f"{model}-copy")
loaded = load_coder(coder, hookpoint, device=cpu)
x = torch.randn(5, loaded.d_in, generator=torch.Generator().manual_seed(0))
# With whatever decodes for the library, it decodes as it should.
theirs = loaded.module(x).sae_out
torch.testing.assert_close(theirs, loaded.decode(loaded.encode(x), x))
"""


def test_loading_and_saving_models_and_coders_is_quiet(tmp_path: Path) -> None:
    files = living_folders(tmp_path)
    run = subprocess.run(
        [sys.executable, "-c", LOADS, files["model"], files["coder"], files["hookpoint"]],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
