"""`python -m forge_core.training` as on a machine with nothing but a CPU without bf16."""

import runpy

import torch

torch.cuda.is_available = lambda: False
torch.cpu.get_capabilities = dict
runpy.run_module("forge_core.training", run_name="__main__")
