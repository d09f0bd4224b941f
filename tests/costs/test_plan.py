"""Plan -> runner without JAX -> table; and every file damaged in turn."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from hwnas_jax.costs import table
from hwnas_jax.costs.correct import calibration
from hwnas_jax.costs.measure import chains, plan, plan_result, runner
from hwnas_jax.costs.measure.plan import PlanNetwork, PlanSite
from hwnas_jax.costs.measured import Measured
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.deploy import onnx
from hwnas_jax.io import document as documents
from hwnas_jax.nets.models import make_network
from hwnas_jax.nets.ops import make_op
from hwnas_jax.spaces.darts import Darts
from hwnas_jax.spaces.spec import Site

# Two cells, no reduction; and three, of which the middle one reduces.
OPS = ("none", "max_pool_3x3", "skip_connect", "dil_conv_3x3")
NET = Darts(OPS, 3, 1, 2, (4, 4, 1), 2)
GENOTYPES = [(1, 2, 3, 1), (3, 3, 0, 2), (2, 0, 1, 3)]

# Run instead of runner.py: the runner where neither package can be imported.
BARE = """
import runpy, sys
sys.modules.update(jax=None, flax=None, hwnas_jax=None, onnx=None)
sys.argv[0] = "runner.py"
runpy.run_path("runner.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  folder = tmp_path_factory.mktemp("plan")
  plan.write(folder, NET, 2, GENOTYPES)
  return folder


@pytest.fixture(scope="module")
def measured(written):
  """A plan's folder after a run of its runner."""
  found = run(written, "--repeats=3", "--threads=1", "--name=toy board")
  assert found.returncode == 0, found.stderr
  return written


@pytest.fixture
def folder(measured, tmp_path):
  """A copy to damage."""
  return shutil.copytree(measured, tmp_path / "copy")


def run(folder: pathlib.Path, *flags: str) -> subprocess.CompletedProcess[str]:
  environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
  return subprocess.run(
    [sys.executable, "-I", "-c", BARE, *flags],
    cwd=folder,
    env=environment,
    capture_output=True,
    text=True,
    timeout=60,
  )


def edit(path: pathlib.Path, change, *, honest=True) -> None:
  """Changes a JSON file; an honest one has a digest that fits."""
  document = json.loads(path.read_text())
  change(document)
  if honest:
    document["digest"] = documents.digest(document)
  path.write_text(json.dumps(document))


def test_a_plan_holds_every_site_and_network(written):
  planned = plan.read(written)
  sites = [e.site.site for e in planned.entries if isinstance(e, PlanSite)]
  wanted = [s for s in NET.space().unique_sites() if s.op != "none"]
  assert sites == wanted
  networks = planned.entries[len(sites) :]
  assert len(networks) == len(GENOTYPES)
  assert {type(entry) for entry in networks} == {PlanNetwork}
  names = {f for e in planned.entries for f in e.sha256}
  files = {p for p in written.rglob("*") if p.parent != written}
  files = {str(p.relative_to(written)) for p in files if p.is_file()}
  assert files == names
  document = json.loads((written / "plan.json").read_text())
  assert planned.digest == document["digest"]
  assert document["entries"][0]["kind"] == "site"
  assert document["entries"][-1]["kind"] == "network"


@pytest.mark.parametrize(
  ("op", "kind", "channels", "inputs", "outputs"),
  [
    ("mb_k3_e1", "layer", 4, 1, 1),
    ("mb_k3_e1", "layer", 6, 3, 3),
    ("sep_conv_3x3", "added", 4, 1, None),
    ("relu_conv_1x1", "fixed", 4, 3, 3),
  ],
)
def test_only_what_is_added_adds_up(op, kind, channels, inputs, outputs):
  site = Site(op, 4, 4, 4, channels, kind=kind)
  shape = (2, 4, 4, 4)
  links, count = plan._unrolled(site, make_op(site, "eval"), shape, 3)
  assert count == inputs
  found = links(*[np.ones(shape, np.float32)] * count)
  assert (len(found) if isinstance(found, list) else None) == outputs


def test_the_longer_chain_is_the_shorter_repeated(written):
  for entry in plan.read(written).entries:
    if isinstance(entry, PlanNetwork):
      continue
    counts = [
      sum(n.op_type in ("Conv", "MaxPool", "MatMul") for n in nodes(written, f))
      for f, _ in sorted(entry.onnx.items(), key=lambda item: item[1])
    ]
    assert counts[1] == 9 * counts[0]


def nodes(folder, file):
  from onnx import load

  return load(folder / file).graph.node


def test_models_and_programs_equal_the_network(written):
  entry = plan.read(written).entries[-1]
  genotype = GENOTYPES[-1]
  module = make_network(NET, genotype, "eval")
  variables, x = chains.random_inputs(module, (2, 4, 4, 1))
  wanted = jax.jit(lambda v, x: module.apply(v, x)[0])(variables, x)
  (found,) = onnx.run(written / next(iter(entry.onnx)), x)
  np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
  content = (written / entry.stablehlo["cpu"]).read_bytes()
  program = jax.export.deserialize(bytearray(content))
  found = jax.jit(program.call)(variables, x)
  np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
  content = (written / entry.stablehlo["gpu"]).read_bytes()
  program = jax.export.deserialize(bytearray(content))
  assert program.platforms == ("cuda", "tpu")
  assert "feature_group_count = 4" in program.mlir_module()


def test_a_plan_is_not_overwritten(written):
  with pytest.raises(ValueError, match="holds a plan"):
    plan.write(written, NET, 2, [])


def test_a_measured_plan_becomes_a_table(measured, tmp_path):
  fitted = plan_result.fit(measured, NET)
  fitted.table.save(tmp_path / "table.json")
  assert LatencyTable.load(tmp_path / "table.json") == fitted.table
  assert fitted.table.fingerprint.startswith("onnxruntime-toy-board")
  assert fitted.table.device.providers == ("CPUExecutionProvider",)
  assert all(
    len(e.samples_ms) == 3 or e.site.op == "none" for e in fitted.table.entries
  )
  assert fitted.measured.genotypes == GENOTYPES
  assert all(ms > 0 for ms in fitted.measured.latencies_ms)


def test_slopes_and_calibration_of_known_timings(folder):
  """What takes its table's time twice has the multiplier 2."""
  site_ms = {}
  samples = {}
  for entry in plan.read(folder).entries:
    if isinstance(entry, PlanSite):
      site = entry.site.site
      site_ms[site.key] = 0.25 * site.channels_in
      samples[entry.id] = {
        f: [5 + n * site_ms[site.key]] * 3 for f, n in entry.onnx.items()
      }
    else:
      genotype = plan.architecture.from_json(NET.space(), entry.architecture)
      costs = site_ms | dict.fromkeys(
        (s.key for s in NET.space().unique_sites() if s.op == "none"), 0.0
      )
      raw = calibration.features(NET, costs, genotype, "live").sum()
      samples[entry.id] = dict.fromkeys(entry.onnx, [2 * raw] * 3)
  edit(folder / "timings.json", lambda d: d.update(samples_ms=samples))
  fitted = plan_result.fit(folder, NET)
  table.require(fitted.table, NET.space(), 2)
  found = table.raw_costs(fitted.table)
  assert {k: found[k] for k in site_ms} == pytest.approx(site_ms)
  assert isinstance(fitted.measured, Measured)
  result = calibration.calibrate(NET, found, fitted.measured)
  assert result.multipliers["base"] == pytest.approx(2, abs=0.1)


def test_a_stopped_runner_goes_on(folder):
  before = json.loads((folder / "timings.json").read_text())
  first = plan.read(folder).entries[0].id
  edit(folder / "timings.json", lambda d: d["samples_ms"].pop(first))
  with pytest.raises(ValueError, match=f"`samples_ms` lacks 1 of .*{first}"):
    plan_result.fit(folder, NET)
  found = run(folder, "--repeats=3", "--threads=1", "--name=toy board")
  assert found.returncode == 0, found.stderr
  after = json.loads((folder / "timings.json").read_text())
  assert after["samples_ms"].pop(first) != before["samples_ms"].pop(first)
  assert after["samples_ms"] == before["samples_ms"]
  plan_result.fit(folder, NET)


SAME = ("--threads=1", "--name=toy board")


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (("--repeats=4", *SAME), "timings.json has repeats 3, this is 4"),
    (("--threads=2", "--repeats=3"), "timings.json has device"),
    (("--providers=Abacus",), "onnxruntime lacks Abacus"),
    (("--repeats=1",), "--repeats >= 3"),
  ],
)
def test_the_runner_refuses_flags(folder, flags, message):
  found = run(folder, *flags)
  assert found.returncode != 0 and message in found.stderr


def test_the_runner_refuses_a_changed_file(folder):
  (folder / "timings.json").unlink()
  entry = plan.read(folder).entries[0]
  (folder / next(iter(entry.onnx))).write_bytes(b"no model")
  found = run(folder)
  assert found.returncode == 1
  assert "is not the plan's" in found.stderr
  edit(folder / "plan.json", lambda d: d.update(batch_size=3), honest=False)
  assert "plan.json is damaged" in run(folder).stderr


@pytest.mark.parametrize(
  "content", [b"", b"{", b"{}", b"[]", b"\xff\xfe", b"[" * 100_000, b"1e999"]
)
def test_the_runner_names_what_is_no_record(tmp_path, content):
  path = tmp_path / "timings.json"
  path.write_bytes(content)
  with pytest.raises(SystemExit, match=r"timings\.json is damaged: delete it"):
    runner.read(path, "delete it")
  path.unlink()
  with pytest.raises(SystemExit, match=r"timings\.json is not in"):
    runner.read(path, "delete it")


def first_samples(document):
  return next(iter(document["samples_ms"]["site_000"].values()))


DAMAGES = [
  (lambda d: d.update(schema=2), "<= 1 - at `$.schema`"),
  (lambda d: d.update(runner=0), ">= 1 - at `$.runner`"),
  (lambda d: d.update(plan="0" * 64), "field `plan` is 0"),
  (lambda d: d.pop("device"), "field `device` is missing"),
  (lambda d: d["device"].update(cpu_cores="2"), "at `$.device.cpu_cores`"),
  (lambda d: d["device"].update(providers=[]), "at `$.device.providers`"),
  (lambda d: d.update(repeats=True), "got `bool` - at `$.repeats`"),
  (lambda d: d.update(samples_ms=[]), "got `array` - at `$.samples_ms`"),
  (lambda d: d["samples_ms"].clear(), "`samples_ms` lacks"),
  (lambda d: first_samples(d).pop(), "`samples_ms` of site_000 has 2 of"),
  (lambda d: first_samples(d).__setitem__(0, -1.0), "> 0.0 - at `$.samples_ms"),
  (lambda d: d["samples_ms"].update(site_000={}), "site_000 has 0 of"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_a_damaged_field_is_named(folder, damage, message):
  edit(folder / "timings.json", damage)
  with pytest.raises(ValueError, match=f"timings.json.*{re.escape(message)}"):
    plan_result.fit(folder, NET)


def test_a_changed_number_is_noticed(folder):
  change = lambda d: first_samples(d).__setitem__(0, 9.0)  # noqa: E731
  edit(folder / "timings.json", change, honest=False)
  with pytest.raises(ValueError, match="timings.json: field `digest`"):
    plan_result.fit(folder, NET)


def test_a_truncated_file_is_refused(folder):
  for name in ("timings.json", "plan.json"):
    path = folder / name
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=f"{name} is not valid JSON"):
      plan_result.fit(folder, NET)


def test_a_missing_file_is_said(written, tmp_path):
  with pytest.raises(FileNotFoundError, match="plan.json"):
    plan_result.fit(tmp_path, NET)


def test_another_space_is_refused(measured):
  other = Darts(OPS, 3, 1, 4, (4, 4, 1), 2)
  with pytest.raises(ValueError, match="field `space` of plan.json"):
    plan_result.fit(measured, other)


def test_the_runner_is_the_version_that_is_read():
  assert plan_result.RUNNER == runner.VERSION
