"""The devices that tests of a GPU run on: the processor that stands in for one, and a real one where torch sees it."""

import pytest
import torch

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is visible to torch")
DEVICES = [
    pytest.param(torch.device("cpu"), id="stand-in"),
    pytest.param(torch.device("cuda", 0), marks=on_gpu, id="gpu"),
]
