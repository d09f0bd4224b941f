"""The main job as its users run it: processes of its own."""

import dataclasses
import functools
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hwnas_jax.runs.family import load, write
from jobs import ROOT, run

from hwnas_jax.core import tree
from hwnas_jax.costs import counts, table
from hwnas_jax.costs.correct import calibration
from hwnas_jax.derive.shortlist import Measurement
from hwnas_jax.io import checkpoint, writers
from hwnas_jax.nets.models import make_network
from hwnas_jax.spaces import architecture

pytestmark = pytest.mark.slow
SHORT_S = 60


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """The folder of a whole smoke run, and what it printed."""
  folder = tmp_path_factory.mktemp("runs") / "smoke"
  done = run(folder)
  assert done.returncode == 0, done.stderr
  return folder, done.stdout


def test_a_run_leaves_its_results(finished):
  folder, printed = finished
  assert f"report: {folder / 'report.html'}" in printed
  assert re.search(r"reachable: \d.* ms smallest, .* ms largest", printed)
  page = (folder / "report.html").read_text()
  assert page.rstrip().endswith("</html>")
  assert {"Training", "Search"} < set(re.findall(r"<h2[^>]*>([^<]+)", page))
  made = writers.read_json(folder / "config.json")
  assert "-m hwnas_jax.main --config=configs/digits.py" in made["command"]
  search = made["config"]["search"]
  assert writers.read_json(folder / "versions.json")["versions"]
  batch_size = table.load(folder / "table.json").batch_size
  assert batch_size == made["config"]["latency"]["batch_size"]
  rows = writers.read_jsonl(folder / "search" / "metrics.jsonl")
  assert rows[-1]["step"] == search["num_steps"]
  assert len(rows) == search["num_steps"] // search["steps_per_dispatch"]
  assert all(row["expected_latency_ms"] > 0 for row in rows)
  saved = checkpoint.steps(folder / "search" / "checkpoints")
  assert saved[-1] == search["num_steps"]


def test_a_run_describes_its_family(finished):
  folder, _ = finished
  family = writers.read_json(folder / "family.json")
  derive = writers.read_json(folder / "config.json")["config"]["derive"]
  kinds = [member["kind"] for member in family["members"]]
  assert kinds.count("random") == derive["num_random"]
  assert 1 <= kinds.count("member") <= derive["num_scales"]
  assert len(family["sweep"]) == derive["num_scales"]
  known = {member["id"] for member in family["members"]}
  assert {point["id"] for point in family["sweep"]} <= known
  for member in family["members"]:
    assert member["latency"]["median_ms"] > 0 and member["predicted_ms"] > 0
    assert 0 <= member["test_accuracy"] <= 1 and member["params"] > 0


def test_a_run_keeps_its_networks(finished):
  folder, _ = finished
  family = writers.read_json(folder / "family.json")
  train = writers.read_json(folder / "config.json")["config"]["train"]
  homes = {home.name: home for home in (folder / "networks").iterdir()}
  assert set(homes) == {member["id"] for member in family["members"]}
  for member in family["members"]:
    home = homes[member["id"]]
    edges = writers.read_json(home / "architecture.json")["edges"]
    assert edges == member["genotype"]
    last = writers.read_jsonl(home / "metrics.jsonl")[-1]
    assert last["step"] == train["num_steps"]
    with np.load(home / "weights.npz") as weights:
      sizes = [w.size for name, w in weights.items() if "params/" in name]
      assert all(np.isfinite(w).all() for w in weights.values())
    assert sum(sizes) == member["params"]


def test_a_folder_of_another_config_is_refused(finished):
  folder, _ = finished
  done = run(folder, "--config.search.weights_lr=0.5", timeout=SHORT_S)
  assert done.returncode == 1
  assert "is of another config: search/weights_lr differ" in done.stderr


def test_an_absent_data_set_is_refused_with_the_ways_to_get_it(tmp_path):
  folder, data_dir = tmp_path / "run", tmp_path / "data"
  done = run(
    folder,
    f"--config.data.data_dir={data_dir}",
    config="cifar.py",
    timeout=20,  # 5 s on an idle machine, most of them imports
  )
  assert done.returncode == 1 and not folder.exists()
  assert "Traceback" not in done.stderr
  assert f"hwnas_jax.data cifar10 --data_dir={data_dir}" in done.stderr
  assert "download_and_prepare" in done.stderr and "folder:" in done.stderr


def test_a_table_that_lacks_an_entry_is_refused(finished, tmp_path):
  found = table.load(finished[0] / "table.json")
  missing = next(e for e in found.entries if e.site.op == "sep_conv_3x3")
  entries = tuple(e for e in found.entries if e != missing)
  path, folder = tmp_path / "table.json", tmp_path / "run"
  table.save(path, dataclasses.replace(found, entries=entries))
  done = run(folder, f"--config.latency.table={path}", timeout=SHORT_S)
  assert done.returncode == 1 and not folder.exists()
  assert missing.site.key in done.stderr
  assert "python -m hwnas_jax.profile" in done.stderr
  assert "Traceback" not in done.stderr


def test_a_target_out_of_reach_is_refused_with_the_range(finished, tmp_path):
  folder = tmp_path / "run"
  done = run(
    folder,
    f"--config.latency.table={finished[0] / 'table.json'}",
    "--config.condition.name=fixed",
    "--config.penalty.name=dual_ascent",
    "--config.penalty.target=1%",
    timeout=SHORT_S,
  )
  assert done.returncode == 1 and not folder.exists()
  assert re.search(r"penalty.target=1% is .* out of reach.* ms", done.stderr)
  assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ("--config.search.num_stpes=3", "num_stpes"),
    ("--config.search.num_steps=many", "num_steps"),
    ("--config.sampler.name=gumble", "sampler.name must be one of softmax"),
  ],
)
def test_a_wrong_override_is_refused(tmp_path, flag, message):
  done = run(tmp_path / "run", flag, timeout=SHORT_S)
  assert done.returncode == 1 and not (tmp_path / "run").exists()
  assert message in done.stderr + done.stdout


def test_a_config_must_be_named():
  done = subprocess.run(
    [sys.executable, "-m", "hwnas_jax.main"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=SHORT_S,
  )
  assert done.returncode == 1 and "--config" in done.stderr


@pytest.fixture(scope="module")
def asked(finished):
  """The finished run as a family, and a device that keeps to its table."""
  family = load(finished[0])

  def measure(genotype):
    exact = table.predict_ms(family.table, family.derived, genotype)
    return Measurement(1.1 * exact, 0.01)

  return family, measure


def test_a_finished_run_answers_a_budget(asked, tmp_path):
  family, measure = asked
  answer = family.query("70%", measure=measure)
  found = answer.certificate
  assert found["kind"] == "measured"
  assert found["measured"]["median_ms"] <= found["budget"]["latency_ms"]
  predicted = table.predict_ms(family.table, family.derived, answer.genotype)
  assert found["predicted_ms"] == pytest.approx(predicted)
  np.testing.assert_allclose(found["simplex"], np.full(3, 1 / 3), rtol=1e-6)
  elsewhere = dataclasses.replace(family, folder=tmp_path)
  folder = write(elsewhere, answer)
  saved = writers.read_json(folder / "certificate.json")
  assert saved["weights"] == "inherited" and 0 <= saved["test_accuracy"] <= 1
  network = make_network(family.derived, answer.genotype, "eval")
  wanted = jax.eval_shape(
    network.init, jax.random.key(0), jnp.zeros((1, *family.derived.image))
  )
  with np.load(folder / "weights.npz") as weights:
    sizes = [w.size for name, w in weights.items() if "params/" in name]
  assert sum(sizes) == tree.count(wanted["params"])


def test_a_query_keeps_every_limit(asked):
  family, measure = asked
  cost = functools.partial(
    counts.genotype_cost,
    family.derived,
    site_cost=counts.site_costs(family.derived.space(), counts.params),
  )
  skips = family.derived.ops.index("skip_connect")
  limit = cost((skips,) * len(family.derived.space().choices))
  kept = family.query("100%", limits={"params": limit}, measure=measure)
  assert cost(kept.genotype) == limit
  with pytest.raises(ValueError, match="no architecture keeps .*'params'"):
    family.query("100%", limits={"params": limit - 1}, measure=measure)
  with pytest.raises(ValueError, match="unknown limit"):
    family.query("100%", limits={"flops": 1.0}, measure=measure)


def test_a_budget_that_nothing_keeps_is_refused(asked):
  family, measure = asked
  with pytest.raises(ValueError, match="no architecture keeps 0.0001 ms"):
    family.query("0.0001ms", measure=measure)


def test_another_device_is_predicted_with_a_margin_or_refused(asked):
  family, _ = asked
  foreign = dataclasses.replace(family.table, fingerprint="a-phone")
  with pytest.raises(ValueError, match="a-phone is not calibrated"):
    family.query("80%", table=foreign)
  rng = np.random.default_rng(0)
  space = family.derived.space()
  known = [architecture.random_genotype(space, rng) for _ in range(20)]
  exact = [table.predict_ms(foreign, family.derived, g) for g in known]
  calibrated = calibration.calibrate(
    family.derived,
    table.raw_costs(foreign),
    known,
    np.asarray(exact) * rng.normal(1.5, 0.05, 20),
  )
  phone = dataclasses.replace(foreign, calibration=calibrated)
  found = family.query("80%", table=phone).certificate
  assert found["kind"] == "predicted" and found["measured"] is None
  bound = found["predicted_ms"] * found["margin"]["ratio"]
  assert bound <= found["budget"]["latency_ms"]
  assert found["margin"]["networks"] == 20
