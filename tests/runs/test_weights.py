"""Weights of derived networks."""

import jax
import numpy as np
import pytest

from hwnas_jax.core import tree
from hwnas_jax.io import writers
from hwnas_jax.nets.models import make_network
from hwnas_jax.runs import weights
from hwnas_jax.spaces.darts import THREE, Darts
from hwnas_jax.train import step as train_step

NET = Darts(THREE, 1, 2, 4, (8, 8, 1), 10)
GENOTYPE = (0, 2, 1, 0, 2)


@pytest.fixture(scope="module")
def stored():
  """What a training stores, with the head that only training has."""
  network = make_network(NET, GENOTYPE, "train")
  params, stats = train_step.init_variables(network, jax.random.key(0))
  return {"params": {**params, "auxiliary": {"bias": np.zeros(3)}}} | {
    "stats": stats
  }


def test_weights_are_read_without_the_auxiliary_head(stored, tmp_path):
  path = tmp_path / "weights.npz"
  writers.write_arrays(path, stored)
  module = make_network(NET, GENOTYPE, "eval")
  read = weights.read(path, module, NET.image)
  params = {k: v for k, v in stored["params"].items() if k != "auxiliary"}
  wanted = {"params": params, "batch_stats": stored["stats"]}
  assert tree.digest(read) == tree.digest(jax.tree.map(np.asarray, wanted))
  with pytest.raises(FileNotFoundError):
    weights.read(tmp_path / "none.npz", module, NET.image)


@pytest.mark.parametrize("fault", ["missing", "shape"])
def test_weights_of_another_architecture_are_refused(stored, tmp_path, fault):
  linear = {"kernel": np.zeros((3, 3)), "bias": np.zeros(10)}
  classifier = {"linear": linear if fault == "shape" else {}}
  params = {**stored["params"], "classifier": classifier}
  path = tmp_path / "weights.npz"
  writers.write_arrays(path, {"params": params, "stats": stored["stats"]})
  module = make_network(NET, GENOTYPE, "eval")
  with pytest.raises(ValueError, match="params/classifier/linear"):
    weights.read(path, module, NET.image)
