"""perilune bench serve against a real server of a tiny model: it counts what clients see, refusals included."""

import pytest
from tiny_models import tiny_transformer, write_model

from perilune import load
from perilune.bench.serve import bench_serve
from perilune.errors import RequestError


def test_it_counts_what_clients_see(tmp_path):
    directory = write_model(tmp_path / "model", tiny_transformer(context=4096))
    result = bench_serve(load(directory), ["--model", str(directory)], [1, 2], 4, soak=1.5)
    assert [row.clients for row in result.rows] == [1, 2] and all(row.refused == 0 for row in result.rows)
    for row in result.rows:
        assert 0 < row.first_median <= row.first_95 and row.tokens_per_second > 0 and row.spread >= 1
    soak = result.soak
    assert soak.replies > 0 and soak.failed == 0 and soak.memory_end > soak.memory_warm / 2 > 0
    assert "2 clients" in result.to_text() and result.to_dict()["rows"][0]["clients"] == 1


def test_clients_are_bounded():
    with pytest.raises(RequestError, match="clients must be"):
        bench_serve(None, [], [0], 4)
