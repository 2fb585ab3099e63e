import pytest
from detection.cluster import Cluster


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()
