"""judgements.json: read as it was written."""

import pytest

from hwnas_jax.io import records
from hwnas_jax.io.judgements import Judgements
from hwnas_jax.io.run_folder import RunFolder


def test_judgements_are_read_as_written(tmp_path):
  folder = RunFolder.at(tmp_path)
  assert folder.judgements() is None
  judged = Judgements(
    architectures=({"cell/0->1": "none"}, {"cell/0->1": "skip_connect"}),
    scores={"synflow": (None, 2.5)},
    left_out={"jacov": "a reason"},
    wall_s=1.25,
    rank_correlation=0.5,
  )
  folder.write_judgements(judged)
  assert folder.judgements() == judged
  path = tmp_path / "judgements.json"
  document = records.to_json(records.read(path, Judgements)) | {"labels": []}
  with pytest.raises(ValueError, match="unknown field `labels`"):
    records.from_json(f"{path}", document, Judgements)
