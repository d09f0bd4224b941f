"""A found network leaves the package with its weights."""

import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from hwnas_jax.config import fields as configuration
from hwnas_jax.config import method
from hwnas_jax.deploy import onnx
from hwnas_jax.io import writers
from hwnas_jax.nets.models import make_network
from hwnas_jax.runs import deploy
from hwnas_jax.spaces import architecture
from hwnas_jax.train import step as train_step

ROOT = pathlib.Path(__file__).parents[2]
BATCH = 6


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run folder with one network, whose weights are random."""
  folder = tmp_path_factory.mktemp("run")
  config = configuration.load(str(ROOT / "configs" / "digits.py") + ":smoke")
  config.space.update(num_cells=1)
  config.latency.batch_size = BATCH
  net = method.make_nets(config)[1]
  genotype = (0, 2, 1, 0, 2)
  name = architecture.identity(net.space(), genotype)
  # With the head that only training has.
  network = make_network(net, genotype, "train")
  params, stats = train_step.init_variables(network, jax.random.key(0))
  params = {**params, "auxiliary": {"bias": np.zeros(3)}}
  stats = jax.tree.map(lambda v: v + 0.5, stats)
  home = folder / "networks" / name
  edges = architecture.to_json(net.space(), genotype)
  writers.write_json(folder / "config.json", {"config": config.to_dict()})
  writers.write_json(home / "architecture.json", {"edges": edges})
  writers.write_arrays(home / "weights.npz", {"params": params, "stats": stats})
  return folder, name, net, genotype, {"params": params, "batch_stats": stats}


def test_programs_equal_the_trained_network(run, tmp_path):
  folder, name, net, genotype, variables = run
  out = tmp_path / "out"
  about = deploy.write(deploy.find(str(folder), name, None), str(out))
  assert about == json.loads((out / "export.json").read_text())
  assert set(about["largest_difference"]) == {
    "network.onnx",
    "network.cpu.stablehlo",
  }
  assert about["shape"] == [BATCH, 8, 8, 1]
  assert set(about["sha256"]) == {
    p.name for p in out.iterdir() if p.name != "export.json"
  }
  dataset = method.load_dataset(
    configuration.restore(
      json.loads((folder / "config.json").read_text())["config"]
    )
  )
  images = np.asarray(dataset.test.images[:BATCH], np.float32)
  x = (images / 255 - np.asarray(dataset.mean)) / np.asarray(dataset.std)
  module = make_network(net, genotype, "eval")
  wanted = jax.jit(module.apply)(variables, x.astype(np.float32))[0]
  (found,) = onnx.run(out / "network.onnx", images)
  np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
  program = jax.export.deserialize(
    bytearray((out / "network.cpu.stablehlo").read_bytes())
  )
  found = jax.jit(program.call)(images)
  np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_the_batch_size_is_a_flag(run, tmp_path):
  found = deploy.find(str(run[0]), run[1], 2)
  assert found.images.shape == (2, 8, 8, 1)


def test_an_unknown_network_names_those_there_are(run, tmp_path):
  folder, name, *_ = run
  found = subprocess.run(
    [
      *(sys.executable, "-m", "hwnas_jax.export"),
      *(f"--workdir={folder}", "--id=none", f"--out={tmp_path / 'out'}"),
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert found.returncode == 1
  (line,) = found.stderr.splitlines()
  assert line.startswith("export:") and "no network 'none'" in line
  assert line.endswith(f"it has {name}")
  assert not (tmp_path / "out").exists()


def test_a_missing_run_is_said(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"config\.json"):
    deploy.find(str(tmp_path), "x", None)


@pytest.mark.parametrize("fault", ["missing", "shape"])
def test_weights_of_another_architecture_are_refused(run, tmp_path, fault):
  _, _, net, genotype, variables = run
  params = {**variables["params"], "classifier": {"linear": {}}}
  if fault == "shape":
    linear = {"kernel": np.zeros((3, 3)), "bias": np.zeros(10)}
    params["classifier"] = {"linear": linear}
  stored = {"params": params, "stats": variables["batch_stats"]}
  writers.write_arrays(tmp_path / "weights.npz", stored)
  module = make_network(net, genotype, "eval")
  with pytest.raises(ValueError, match="params/classifier/linear"):
    deploy.read_weights(tmp_path / "weights.npz", module, net.image)


def test_a_program_that_differs_is_not_written(run, tmp_path, monkeypatch):
  monkeypatch.setattr(
    onnx, "run", lambda model, x: [np.full((BATCH, 10), np.nan)]
  )
  network = deploy.find(str(run[0]), run[1], None)
  with pytest.raises(ValueError, match=r"network\.onnx differs.* by nan"):
    deploy.write(network, str(tmp_path / "out"))
  assert not (tmp_path / "out").exists()
