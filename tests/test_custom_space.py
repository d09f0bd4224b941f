"""A model of one's own through the package: config, table, job and query."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jobs import ROOT, run

from hwnas_jax import build
from hwnas_jax import config as configuration
from hwnas_jax.costs import table as tables
from hwnas_jax.costs import timing
from hwnas_jax.finished import load, write
from hwnas_jax.io import writers
from hwnas_jax.nets.ops import make_op
from hwnas_jax.report import html as report
from hwnas_jax.spaces.custom import OUTSIDE

FOLDER = ROOT / "experiments" / "custom_space"


def config_of(model, **fields):
  config = configuration.load(f"{FOLDER / 'config.py'}:smoke")
  config.space.model = model
  config.update_from_flattened_dict(
    {name.replace("__", "."): value for name, value in fields.items()}
  )
  return config


@pytest.fixture(scope="module")
def net():
  return build.make_nets(config_of(f"{FOLDER / 'net.py'}:Net"))[1]


def test_the_tutorial_is_short_and_passes(net):
  assert len((FOLDER / "net.py").read_text().splitlines()) < 40
  for variant in ("", ":smoke"):
    configuration.check(configuration.load(f"{FOLDER / 'config.py'}{variant}"))
  with pytest.raises(ValueError, match="no variant 'x'"):
    configuration.load(f"{FOLDER / 'config.py'}:x")
  assert net.ops == ("conv1", "conv3", "conv5", "skip")
  assert net.space().allowed().sum(1).tolist() == [4, 4, 3, 4, 4]
  assert repr(net).startswith("Custom(name='Net', image=(8, 8, 1), num_class")


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
    build.make_nets(config_of(model))
  assert "space.model" in str(caught.value)


def test_annotations_may_be_text(tmp_path):
  text = (FOLDER / "net.py").read_text()
  path = tmp_path / "net.py"
  path.write_text(f"from __future__ import annotations\n{text}")
  assert len(build.make_nets(config_of(f"{path}:Net"))[0].ops) == 4


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"space__model": ""}, "custom needs space.model"),
    ({"space__channels": 8}, "space.channels is not read by space.name=custom"),
    ({"derive__num_cells": 3}, "derive.num_cells is not read by"),
    ({"train__drop_path": 0.2}, "train.drop_path is not read by"),
    ({"space__name": "darts"}, "space.model is not read by space.name=darts"),
  ],
)
def test_fields_of_other_spaces_are_refused(fields, message):
  config = config_of("net.py:Net", **fields)
  with pytest.raises(ValueError, match=message):
    configuration.check(config)


def test_a_site_is_timed_as_its_module_runs(net):
  sites = [net.space().sites[2][1][0], *net.space().fixed]
  assert [sites[0].op, sites[1].op] == ["conv3", OUTSIDE]
  for site in sites:
    chain, module = timing.compile_chain(site, 2), make_op(site, "eval")
    shape = (2, site.height, site.width, site.channels_in)
    once = jax.jit(module.apply)(*timing.random_inputs(module, shape))
    total = once if site.op == OUTSIDE else 2 * chain.inner * once
    assert float(jnp.abs(once).max()) > 0.1
    np.testing.assert_allclose(chain.run(2), total, rtol=1e-5, atol=1e-5)


def test_a_table_keeps_programs(net, tmp_path):
  path, space = tmp_path / "table.json", net.space()
  sites = space.unique_sites()
  entries = tuple(timing.entry_of(site, [1.0, 2.0]) for site in sites)
  table = tables.LatencyTable(
    {"platform": "cpu"}, "cpu-test", {"jax": "1"}, 8, entries, True
  )
  tables.save(path, table)
  assert tables.load(path) == table
  tables.require(tables.load(path), space, 8)
  kinds = [e.kind for e in table.entries if e.site.op == OUTSIDE]
  assert kinds == ["fixed"]
  document = json.loads(path.read_text())
  document["entries"][0]["program"] = 3
  path.write_text(json.dumps(document))
  with pytest.raises(ValueError, match="field 'program' is 3"):
    tables.load(path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """The folder of a whole smoke run."""
  folder = tmp_path_factory.mktemp("runs") / "custom"
  config = pathlib.Path("..") / FOLDER.relative_to(ROOT) / "config.py"
  done = run(folder, config=f"{config}:smoke")
  assert done.returncode == 0, done.stderr
  return folder


@pytest.mark.slow
def test_the_main_job_runs_with_it(finished):
  family = writers.read_json(finished / "family.json")
  assert family["choices"] == [f"layer_{index}" for index in range(5)]
  assert all(0 <= m["test_accuracy"] <= 1 for m in family["members"])
  page = report.write_report(finished).read_text()
  assert "<th>layer_0</th>" in page


@pytest.mark.slow
def test_a_finished_run_answers(finished, tmp_path):
  found = load(finished)
  answer = found.query("100%")
  assert answer.certificate["kind"] == "measured"
  folder = write(found, answer)
  about = json.loads((folder / "certificate.json").read_text())
  assert about["weights"] in ("trained", "inherited")
