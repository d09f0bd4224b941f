"""A network leaves the package with its weights."""

import hashlib
import json
import re
import sys

import jax
import numpy as np
import pytest
from jobs import ROOT
from toy_origin import DATA

import hwnas_jax as hw
from hwnas_jax.commands import export as commands_export
from hwnas_jax.config import problem as problems
from hwnas_jax.data import embedded
from hwnas_jax.deploy import onnx, onnx_ops
from hwnas_jax.io import records, writers
from hwnas_jax.io.exports import Export
from hwnas_jax.io.records import Accuracies, Measurement, Network
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.nets.models import make_network
from hwnas_jax.runs import deploy, pipeline, programs
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


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
  """(the record, the folder) of an export."""
  out = tmp_path_factory.mktemp("deploy") / "out"
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(type(network), "latency", Measurement(1.0, 0.1))
    return network.export(out), out


def test_programs_equal_the_trained_network(network, images, wanted, exported):
  export, out = exported
  assert export == records.read(out / "export.json", Export)
  assert {p.name for p in out.iterdir()} == {*export.programs, "export.json"}
  for file, program in export.programs.items():
    content = (out / file).read_bytes()
    assert program.sha256 == hashlib.sha256(content).hexdigest()
  (logits,) = onnx.run(out / "network.onnx", images.astype(np.float32))
  close(logits, wanted)
  program = jax.export.deserialize(
    bytearray((out / "network.cpu.stablehlo").read_bytes())
  )
  close(jax.jit(program.call)(images.astype(np.float32)), wanted)


def test_an_export_says_what_a_user_needs(network, exported):
  export, _ = exported
  dataset = network.run.dataset
  assert (export.id, export.image) == (network.id, (8, 8, 1))
  assert export.architecture == network.architecture
  assert export.class_names == dataset.class_names
  assert (export.mean, export.std) == (dataset.mean, dataset.std)
  assert (export.batch_size, export.refused) == (BATCH, {})
  assert export.test_accuracy is None  # these weights were never trained
  assert export.latency == Measurement(1.0, 0.1)
  here = {f for f, p in export.programs.items() if p.runtime}
  assert here == {"network.onnx", "network.cpu.stablehlo"}
  for file in here:
    program = export.programs[file]
    assert program.batch is None and program.latency.median_ms > 0
    assert program.largest_difference < 1e-4 * export.largest_logit
  program = export.programs["network.onnx"]
  assert program.runtime.startswith("onnxruntime ")
  assert (program.input, program.output) == ("images", "logits")
  assert (program.layout, program.opset) == ("NCHW", 18)
  assert export.programs["network.gpu.stablehlo"].platforms == ("cuda", "tpu")


def test_one_image_with_onnxruntime_alone(images, wanted, exported):
  """The example of docs/export.md."""
  _, out = exported
  page = (ROOT / "docs/export.md").read_text()
  (code,) = re.findall(r"^```python\n(import json.*?)^```$", page, re.M | re.S)
  names = {"image": images[0], "folder": str(out)}
  exec(compile(code, "docs/export.md", "exec"), names)
  close(names["logits"], wanted[:1])
  assert names["name"] == str(int(wanted[0].argmax()))


def test_metadata_of_onnx(network, exported):
  import onnxruntime

  _, out = exported
  session = onnxruntime.InferenceSession(
    out / "network.onnx", providers=["CPUExecutionProvider"]
  )
  about = session.get_modelmeta().custom_metadata_map
  names = network.run.dataset.class_names
  assert json.loads(about["class_names"]) == (names and list(names))
  assert json.loads(about["mean"]) == list(network.run.dataset.mean)
  assert about["id"] == network.id
  (images,), (logits,) = session.get_inputs(), session.get_outputs()
  assert (images.name, images.shape) == ("images", ["batch", 1, 8, 8])
  assert (logits.name, logits.shape) == ("logits", ["batch", 10])


def recorded(network, accuracy):
  """Writes what a training would have recorded."""
  network.home.write_accuracies(Accuracies(0.9, (accuracy, 0.9)))


@pytest.fixture
def found_accuracy(exported, network):
  yield exported[0].programs["network.onnx"].test_accuracy
  (network.home.path / "metrics.json").unlink(missing_ok=True)


def test_the_recorded_accuracy_is_compared(network, found_accuracy, tmp_path):
  recorded(network, found_accuracy)
  export = network.export(tmp_path / "out")
  assert export.test_accuracy == found_accuracy


def test_another_accuracy_is_refused(network, found_accuracy, tmp_path):
  (tmp_path / "network.onnx").write_text("of before")
  recorded(network, found_accuracy + 0.1)
  with pytest.raises(ValueError, match=r"onnx has test accuracy .* recorded"):
    network.export(tmp_path)
  assert [p.name for p in tmp_path.iterdir()] == ["network.onnx"]
  assert (tmp_path / "network.onnx").read_text() == "of before"


def test_what_rounding_explains_is_allowed():
  logits = np.float32([[1, 0], [1, 0.9999], [0, 1], [0, 1]])
  labels = np.array([0, 0, 1, 1])
  expected = deploy._Expected(logits, labels, 1e-3, 1.0)
  swapped = logits.copy()
  swapped[1] = 0.9999, 1.0
  expected.check("a", swapped)
  with pytest.raises(ValueError, match="1.0000.*recorded 0.5000.*1 of 4"):
    expected._replace(accuracy=0.5).check("a", logits)
  with pytest.raises(ValueError, match="differs from JAX's by"):
    expected.check("a", logits + np.float32(0.01))
  with pytest.raises(ValueError, match="by nan"):
    expected.check("a", logits * np.float32(np.nan))


def test_onnx_that_cannot_be_made_stops_nothing(network, tmp_path, monkeypatch):
  (tmp_path / "network.onnx").write_text("of an export before")
  monkeypatch.delitem(onnx_ops.CONVERSIONS, "dot_general")
  monkeypatch.delitem(onnx_ops.REWRITES, "dot_general")
  monkeypatch.setattr(type(network), "latency", Measurement(1.0, 0.1))
  export = network.export(tmp_path, batch_size=2)
  assert export.latency is None  # it was measured at another batch size
  reason = export.refused["network.onnx"]
  assert reason == "no ONNX conversion of 'dot_general'"
  assert not (tmp_path / "network.onnx").exists()
  assert (tmp_path / "network.cpu.stablehlo").exists()
  assert "network.onnx" not in export.programs


@pytest.mark.parametrize("library", ["onnx", "onnxruntime"])
def test_an_absent_library_stops_nothing(network, monkeypatch, library):
  monkeypatch.setitem(sys.modules, library, None)
  data = network.run.folder.settings().origin.data
  empty = np.zeros(0)
  toy = programs.Deployable(
    "a", {}, lambda x: x.mean((1, 2)), data, empty, empty, None, None
  )
  made, refused = programs.make(toy, 2)
  assert "pip install onnx onnxruntime" in refused["network.onnx"]
  assert set(made) == {"network.cpu.stablehlo", "network.gpu.stablehlo"}


def test_a_model_of_one_batch_is_exported_for_it():
  def infer(pixels):
    rows = int(pixels.shape[0])  # fails for a symbolic size
    return pixels.reshape(rows, -1)[:, :10]

  images, labels = np.zeros((5, 8, 8, 1), np.uint8), np.zeros(5, np.int32)
  toy = programs.Deployable("a", {}, infer, DATA, images, labels, None, None)
  made, refused = programs.make(toy, 3)
  assert refused == {}
  assert {item.record.batch for item in made.values()} == {3}


def test_without_the_runs_data_an_export_is_checked_on_random_pixels(
  network, tmp_path, monkeypatch, capsys
):
  def gone(config):
    raise FileNotFoundError("the images are gone")

  monkeypatch.setattr(pipeline, "load_dataset", gone)
  again = hw.load(network.run.folder.path).network(network.id)
  export = again.export(tmp_path, batch_size=2)
  assert "on random pixels, not on the test split: the images are gone" in (
    capsys.readouterr().out
  )
  programs = export.programs.values()
  assert {p.test_accuracy for p in programs} == {None}
  assert all(p.largest_difference < 1e-3 for p in programs if p.runtime)
  assert export.mean == network.run.dataset.mean
  for program in programs:
    assert "test accuracy" not in commands_export._said(export, program)


def test_an_unknown_network_names_those_there_are(network):
  message = f"no network 'none' .*it has {network.id}$"
  with pytest.raises(FileNotFoundError, match=message):
    network.run.network("none")


def test_a_missing_run_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"config\.json"):
    hw.load(tmp_path)


def test_a_program_that_differs_is_not_written(network, tmp_path, monkeypatch):
  convert = onnx_ops.CONVERSIONS["add"]
  wrong = lambda graph, values, use: convert(graph, values[:1] * 2, use)  # noqa: E731
  monkeypatch.setitem(onnx_ops.CONVERSIONS, "add", wrong)
  with pytest.raises(ValueError, match=r"network\.onnx differs from JAX"):
    network.export(tmp_path / "out")
  assert not (tmp_path / "out").exists()
