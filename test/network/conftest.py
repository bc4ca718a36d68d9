"""How the tests of networks run."""

import pytest
import torch


@pytest.fixture
def without_memory():
    """Networks built in the test have shapes only: the giant would take 5 GB."""
    pytest.importorskip('timm', minversion='1.0.31', reason='older ones cannot be built on the meta device')
    with torch.device('meta'):
        yield
