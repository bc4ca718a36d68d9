"""How the tests of networks run."""

import pytest
import torch


@pytest.fixture(autouse=True, scope='module')
def one_thread():
    """Networks on pictures this small gain nothing from more, and on a busy machine threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def without_memory():
    """Networks built in the test have shapes only: the giant would take 5 GB."""
    pytest.importorskip('timm', minversion='1.0.31', reason='older ones cannot be built on the meta device')
    with torch.device('meta'):
        yield
