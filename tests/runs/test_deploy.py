"""A network leaves the package with its weights."""

import jax
import numpy as np
import pytest

import hwnas_jax as hw
from hwnas_jax.config import problem as problems
from hwnas_jax.data import embedded
from hwnas_jax.deploy import onnx
from hwnas_jax.io import records, writers
from hwnas_jax.io.records import Export, Network
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.nets.models import make_network
from hwnas_jax.runs import pipeline
from hwnas_jax.spaces import architecture
from hwnas_jax.train import step as train_step

BATCH = 6


@pytest.fixture(scope="module")
def network(tmp_path_factory):
  """A run's only network, whose weights are random."""
  config = hw.load_config("digits:smoke")
  config.space.num_cells = 1
  config.latency.batch_size = BATCH
  fields = problems.resolve(config)
  nets, genotype = problems.make_nets(fields), (0, 2, 1, 0, 2)
  net = nets.derived
  folder = RunFolder(tmp_path_factory.mktemp("run"))
  pipeline.begin(folder, fields, "command", embedded.digits(), nets)
  params, stats = train_step.init_variables(
    make_network(net, genotype, "train"), jax.random.key(0)
  )
  stats = jax.tree.map(lambda v: v + 0.5, stats)
  home = folder.network(architecture.identity(net.space(), genotype))
  home.write_architecture(Network(architecture.to_json(net.space(), genotype)))
  # With the head that only training has.
  params = {**params, "auxiliary": {"bias": np.zeros(3)}}
  writers.write_arrays(home.weights, {"params": params, "stats": stats})
  return hw.load(folder.path).network(home.id)


@pytest.fixture(scope="module")
def images(network):
  return np.asarray(network.run.dataset.test.images[:BATCH])


@pytest.fixture(scope="module")
def wanted(network, images):
  """Logits by hand, of the stored weights."""
  dataset, net = network.run.dataset, network.run.nets.derived
  x = images.astype(np.float32) / 255
  x = (x - np.asarray(dataset.mean)) / np.asarray(dataset.std)
  module = make_network(net, network.genotype, "eval")
  variables = jax.eval_shape(module.init, jax.random.key(0), x)
  with np.load(network.home.weights) as stored:
    arrays = dict(stored)

  def leaf(path, _):
    names = [entry.key for entry in path]
    names[0] = {"batch_stats": "stats"}.get(names[0], names[0])
    return arrays["/".join(names)]

  variables = jax.tree_util.tree_map_with_path(leaf, variables)
  return jax.jit(module.apply)(variables, x.astype(np.float32))[0]


def close(logits, wanted):
  np.testing.assert_allclose(logits, wanted, rtol=1e-3, atol=1e-4)


def test_a_network_is_a_function_of_pixels(network, images, wanted):
  close(network(images), wanted)
  close(network.infer(images.astype(np.float32)), wanted)


def test_programs_equal_the_trained_network(network, images, wanted, tmp_path):
  export = network.export(tmp_path / "out")
  out = tmp_path / "out"
  assert export == records.read(out / "export.json", Export)
  assert set(export.largest_difference) == {
    "network.onnx",
    "network.cpu.stablehlo",
  }
  assert (export.id, export.shape) == (network.id, (BATCH, 8, 8, 1))
  assert export.architecture == network.architecture
  assert set(export.sha256) == {
    p.name for p in out.iterdir() if p.name != "export.json"
  }
  (logits,) = onnx.run(out / "network.onnx", images.astype(np.float32))
  close(logits, wanted)
  program = jax.export.deserialize(
    bytearray((out / "network.cpu.stablehlo").read_bytes())
  )
  close(jax.jit(program.call)(images.astype(np.float32)), wanted)


def test_the_batch_size_may_be_another(network, tmp_path):
  export = network.export(tmp_path, batch_size=2)
  assert export.shape == (2, 8, 8, 1)


def test_an_unknown_network_names_those_there_are(network):
  message = f"no network 'none' .*it has {network.id}$"
  with pytest.raises(FileNotFoundError, match=message):
    network.run.network("none")


def test_a_missing_run_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"config\.json"):
    hw.load(tmp_path)


def test_a_program_that_differs_is_not_written(network, tmp_path, monkeypatch):
  monkeypatch.setattr(
    onnx, "run", lambda model, x: [np.full((BATCH, 10), np.nan)]
  )
  with pytest.raises(ValueError, match=r"network\.onnx differs.* by nan"):
    network.export(tmp_path / "out")
  assert not (tmp_path / "out").exists()
