"""A model of one's own through the package: config, table, job and query."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jobs import ROOT

import hwnas_jax as hw
from hwnas_jax.config import checks, files
from hwnas_jax.config import problem as problems
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import timing
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.io.records import Device, Measurement
from hwnas_jax.nets import models
from hwnas_jax.nets.ops import make_op
from hwnas_jax.runs import comfort_zone, weights
from hwnas_jax.spaces.custom import OUTSIDE

FOLDER = ROOT / "experiments" / "custom_space"


def config_of(model, **fields):
  config = hw.load_config(f"{FOLDER / 'config.py'}:smoke")
  config.space.model = model
  config.update_from_flattened_dict(
    {name.replace("__", "."): value for name, value in fields.items()}
  )
  return config


def nets_of(config):
  return problems.make_nets(problems.resolve(config))


@pytest.fixture(scope="module")
def net():
  return nets_of(config_of(f"{FOLDER / 'net.py'}:Net")).derived


def test_the_tutorial_is_short_and_passes(net):
  assert len((FOLDER / "net.py").read_text().splitlines()) < 40
  for variant in ("", ":smoke"):
    config = hw.load_config(f"{FOLDER / 'config.py'}{variant}")
    checks.check(files.typed(config))
  with pytest.raises(ValueError, match="no variant 'x'"):
    hw.load_config(f"{FOLDER / 'config.py'}:x")
  assert net.ops == ("conv1", "conv3", "conv5", "skip")
  assert net.space().allowed().sum(1).tolist() == [4, 4, 3, 4, 4]
  assert repr(net).startswith("Custom(name='Net', image=(8, 8, 1), num_class")


def test_its_shapes_are_its_own(net):
  with pytest.raises(ValueError, match="model of your own has no width"):
    models.scaled(net, 2.0, 1.0)
  assert comfort_zone.overrides(net, net) == ()


@pytest.mark.parametrize(
  ("model", "message"),
  [
    ("net.py", "expected FILE.py:NAME or package.module:NAME"),
    ("absent.py:Net", "no file absent.py here"),
    ("hwnas_jax.absent:Net", "No module named 'hwnas_jax.absent'"),
    ("hwnas_jax.nets.ops:Absent", "has no class or function of the name Abs"),
    (f"{FOLDER / 'net.py'}:nn", "has no class or function of the name nn"),
    ("hwnas_jax.nets.ops:Classifier", "Classifier: it has no Choice"),
    ("hwnas_jax.nets.ops:Pool", "Pool: it needs kind, stride"),
  ],
)
def test_a_wrong_model_is_refused(model, message):
  with pytest.raises(ValueError, match=message) as caught:
    nets_of(config_of(model))
  assert "space.model" in str(caught.value)


def test_annotations_may_be_text(tmp_path):
  text = (FOLDER / "net.py").read_text()
  path = tmp_path / "net.py"
  path.write_text(f"from __future__ import annotations\n{text}")
  assert len(nets_of(config_of(f"{path}:Net")).supernet.ops) == 4


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"space__model": ""}, "custom needs space.model"),
    (
      {"space__channels": 8},
      "space.channels is only for space.name=darts or nasbench201",
    ),
    ({"derive__num_cells": 3}, "derive.num_cells is only for space.name="),
    ({"train__drop_path": 0.2}, "train.drop_path is only for space.name="),
    ({"space__name": "darts"}, "space.model is only for space.name=custom"),
  ],
)
def test_fields_of_other_spaces_are_refused(fields, message):
  config = config_of("net.py:Net", **fields)
  with pytest.raises(ValueError, match=message):
    problems.resolve(config)


def test_a_site_is_timed_as_its_module_runs(net):
  sites = [net.space().sites[2][1][0], *net.space().fixed]
  assert [sites[0].op, sites[1].op] == ["conv3", OUTSIDE]
  for site in sites:
    chain, module = timing.compile_chain(site, 2), make_op(site, "eval")
    shape = (2, site.height, site.width, site.channels_in)
    once = jax.jit(module.apply)(*timing.random_inputs(module, shape))
    assert float(jnp.abs(once).max()) > 0.1
    np.testing.assert_allclose(chain.run(2), once, rtol=1e-5, atol=1e-5)


def test_a_table_keeps_programs(net, tmp_path):
  path, space = tmp_path / "table.json", net.space()
  sites = space.unique_sites()
  entries = tuple(timing.entry_of(site, [1.0, 2.0]) for site in sites)
  device = Device(platform="cpu", device_kind="cpu")
  table = LatencyTable(device, "cpu-test", {"jax": "1"}, 8, entries, True)
  table.save(path)
  assert LatencyTable.load(path) == table
  tables.require(LatencyTable.load(path), space, 8)
  kinds = [e.kind for e in table.entries if e.site.op == OUTSIDE]
  assert kinds == ["fixed"]
  block = dataclasses.replace(sites[0], op="residual_block")
  assert timing.entry_of(block, [1.0]).kind == "op"
  document = json.loads(path.read_text())
  document["entries"][0]["program"] = 3
  path.write_text(json.dumps(document))
  message = r"Expected `str`, got `int` - at `\$.entries\[0\].program`"
  with pytest.raises(ValueError, match=message):
    LatencyTable.load(path)


SMALL = """
import flax.linen as nn
from hwnas_jax.nets.choice import Choice

class Small(nn.Module):
  num_classes: int

  @nn.compact
  def __call__(self, x):
    for index in range(2):
      ops = [nn.Conv(4, (1, 1)), nn.Conv(4, (3, 3))]
      x = nn.relu(Choice(ops, name=f"layer_{index}")(x))
    return nn.Dense(self.num_classes)(x.mean((1, 2)))
"""


def test_what_onnx_lacks_is_said_before_profiling(
  tmp_path, monkeypatch, capsys
):
  def profile(*_, **__):
    raise RuntimeError("profiles")

  monkeypatch.setattr("hwnas_jax.costs.measure.sites.profile_space", profile)
  config = config_of("toy_models:Fourier", latency__table="")
  with pytest.raises(RuntimeError, match="profiles"):
    hw.search(config, workdir=tmp_path / "run")
  assert "mix ('fft', 'real'" in capsys.readouterr().out


@pytest.mark.slow
def test_the_main_job_and_a_query_run_with_it(tmp_path):
  """Without any norm, with lists, and in bfloat16."""
  (tmp_path / "small.py").write_text(SMALL)
  config = config_of(f"{tmp_path / 'small.py'}:Small", precision="bfloat16")
  config.search.update(num_steps=2, warmup_steps=1, checkpoint_every=2)
  config.train.update(num_steps=2, checkpoint_every=2)
  config.derive.update(num_scales=1, num_random=1)
  run = hw.search(config, workdir=tmp_path / "run", command="command")
  page = run.report.path.read_text()
  assert "<th>layer_0</th><td>Conv_" in page
  assert run.folder.family().choices == ("layer_0", "layer_1")
  answer = run.query("100%", measure=lambda genotype: Measurement(1e-3, 0.0))
  certificate = answer.folder.certificate()
  assert certificate == answer.certificate and certificate.kind == "measured"
  assert certificate.weights in ("trained", "inherited")
  table = LatencyTable.load(run.folder.table)
  assert table.dtype == run.config.precision == "bfloat16"
  probabilities = answer.network(np.zeros((2, *run.dataset.image), np.uint8))
  assert np.isfinite(probabilities).all()
  params, stats, accuracy = weights.inherited(
    run.finished, answer.network.genotype
  )
  assert set(params) == {"layer_0", "layer_1", "Dense_0"} and stats == {}
  assert 0 <= accuracy <= 1
