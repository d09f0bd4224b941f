"""How short the ways to something new are, each shown by going it.

  a search space         2 files and a line: spaces/x.py, nets/x.py, SPACES
  a sampler              1 file: SAMPLERS["mine"] = Sampler(...)
  a counted cost         1 file: COUNTS["mine"] = count
  a measured quantity    2 files: its sample function, METERS["mine"] = ...
  a field of the recipe  2 files: config/fields.py, train/step.py

What registers at run time is registered here, in one process, and nothing of
the package is edited.
"""

import json

import jax
import msgspec
import numpy as np
import pytest
import toy_space

import hwnas_jax as hw
from hwnas_jax import config as base
from hwnas_jax import method
from hwnas_jax.config import fields, files
from hwnas_jax.config import problem as problems
from hwnas_jax.costs import counts
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure.meter import METERS, Meter
from hwnas_jax.costs.measure.sites import profile_space
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.train.step import Recipe

STEPS = {"num_steps": 2, "checkpoint_every": 2, "steps_per_dispatch": 2}


def tiny():
  """A config of the toy space at its smallest."""
  config = base.default()
  config.space.update(name="toy", toy_ops="three", depth=2, channels=2)
  config.derive.update(rule="argmax", num_scales=1, num_random=1)
  config.search.update(batch_size=4, **STEPS)
  config.train.update(batch_size=4, **STEPS)
  config.latency.update(batch_size=2, repeats=3)
  return config


def noisy_argmax(key, logits, temperature, rows):
  """One-hot at the largest of the logits and Gaussian noise."""
  noise = jax.random.normal(key, logits.shape)
  best = (logits + temperature * noise).argmax(-1)
  one_hot = jax.nn.one_hot(best, logits.shape[-1])
  weights = one_hot + logits - jax.lax.stop_gradient(logits)
  return method.Mix(weights, jax.nn.softmax(logits))


@pytest.mark.slow
def test_a_space_and_a_sampler_go_all_the_way(tmp_path, monkeypatch):
  """Profile, search, query, call and export."""
  monkeypatch.setitem(
    method.SAMPLERS, "noisy_argmax", method.Sampler(noisy_argmax, one_hot=True)
  )
  with toy_space.registered():
    config = tiny()
    config.sampler.update(name="noisy_argmax", per_example=False)
    path = tmp_path / "table.json"
    table = hw.profile(config, out=path, networks=0, repeats=3)
    assert {"nor_conv_3x3", "toy_wide", "toy_pass"} < {
      entry.op for entry in LatencyTable.load(path).entries
    }
    run = hw.search(config, workdir=tmp_path / "run", table=table)
    assert run.config.space["name"] == "toy"
    assert run.config.sampler.name == "noisy_argmax"
    page = run.report.path.read_text()
    assert "toy_" in page or "nor_conv_3x3" in page
    answer = run.query("1000ms")
    assert answer.certificate.kind == "measured"
    assert set(answer.network.architecture) == {"block_0", "block_1"}
    pixels = run.dataset.test.images[:2]
    logits = answer.network(pixels)
    assert logits.shape == (2, 10)
    export = answer.network.export(tmp_path / "out")
    assert export.architecture == answer.network.architecture
    program = jax.export.deserialize(
      bytearray((tmp_path / "out/network.cpu.stablehlo").read_bytes())
    )
    again = jax.jit(program.call)(np.asarray(pixels, np.float32))
    np.testing.assert_allclose(again, logits, rtol=1e-3, atol=1e-4)
  with pytest.raises(ValueError, match="config.json is not a config of this"):
    hw.load(tmp_path / "run")


def test_a_counted_cost_is_a_function_and_a_line(monkeypatch):
  """It is a cost.name, and the search pays it."""

  def weightless(site):
    return float(not counts.params(site))

  config = hw.load_config("digits:smoke")
  config.cost.name = "weightless"
  with pytest.raises(ValueError, match="cost.name must be one of latency"):
    problems.resolve(config)
  monkeypatch.setitem(counts.COUNTS, "weightless", weightless)
  resolved = problems.resolve(config)
  nets = problems.make_nets(resolved)
  prices = np.asarray(problems.make(resolved, nets, None).costs.reference)
  by_op = dict(zip(nets.derived.ops, prices.T, strict=True))
  assert by_op["avg_pool_3x3"].all() and not by_op["sep_conv_3x3"].any()


def test_a_measured_quantity_is_a_function_and_a_line(tmp_path, monkeypatch):
  """A made-up one: each sample is larger than the last."""
  samples = iter(np.linspace(1, 2, 10_000))

  def sample_energy(run, least_ms, /):
    jax.block_until_ready(run())
    return next(samples)

  meter = Meter("energy", "mJ", sample_energy)
  monkeypatch.setitem(METERS, "energy", meter)
  with toy_space.registered():
    space = problems.make_nets(problems.resolve(tiny())).derived.space()
    path = tmp_path / "energy.json"
    table = profile_space(space, 2, path, 3, meter)
    assert (table.quantity, table.unit) == ("energy", "mJ")
    assert LatencyTable.load(path) == table
    assert "energy table" in table._repr_html_()
    tables.require(table, space, 2, "energy")
    with pytest.raises(ValueError, match="energy table .* has no latency"):
      hw.search(tiny(), workdir=tmp_path / "run", table=table)
  monkeypatch.delitem(METERS, "energy")
  with pytest.raises(ValueError, match="register its meter in METERS"):
    LatencyTable.load(path)


def test_a_field_of_the_recipe_is_a_field_and_its_use():
  """`Train` gives it to flags, checks and run folders; `Recipe` to the step."""
  names = set(fields.Train.__struct_fields__)
  read = {name for name in vars(Recipe) if not name.startswith("_")}
  assert read and read <= names
  whole = msgspec.defstruct(
    "Train", [("mixup", float, 0.0)], bases=(fields.Train,), frozen=True
  )
  recipe = msgspec.convert({"mixup": 0.2}, whole)
  assert (recipe.mixup, recipe.num_steps) == (0.2, fields.Train().num_steps)
  # A config has every field of Train: nobody lists them a second time.
  assert set(base.default().train) == names
  stored = json.loads(json.dumps(base.default().to_dict()))
  assert files.typed(stored).train == fields.Train()
