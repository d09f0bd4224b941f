"""Networks measured on the device: stored, gone on with, and used."""

import json

import numpy as np
import pytest
from msgspec.structs import replace

from hwnas_jax.costs import table as tables
from hwnas_jax.costs.correct import calibration, transfer
from hwnas_jax.costs.measure import networks, timing
from hwnas_jax.costs.measure.meter import LATENCY, METERS, Meter
from hwnas_jax.costs.measure.sites import profile_space
from hwnas_jax.costs.measured import Measured
from hwnas_jax.io import document as documents
from hwnas_jax.spaces import darts
from hwnas_jax.spaces.rules import RULES

NET = darts.Darts(
  ("none", "skip_connect", "sep_conv_3x3"), 3, 2, 4, (8, 8, 1), 3
)
SPACE = NET.space()


class Stopped(Exception):
  """What ends a measurement in these tests."""


def make_table(meter=LATENCY):
  """A table of this device: more channels, more ms."""
  entries = tuple(
    timing.entry_of(
      site, [] if site.kind == "free" else [0.1 * site.channels_in] * 3
    )
    for site in SPACE.unique_sites()
  )
  table = tables.empty(2, meter)
  return replace(table, entries=entries, finished=True)


@pytest.fixture
def compiled(monkeypatch):
  """Networks that are not compiled; calling one takes no time."""
  log = []

  def compile_network(net, genotype, batch_size, dtype="float32"):
    log.append(genotype)
    return lambda: None

  monkeypatch.setattr(timing, "compile_network", compile_network)
  monkeypatch.setattr(timing, "STEADY_MS", 0.0)
  return log


def profile(path, count=4, table=None):
  table = table or make_table()
  rule = RULES["argmax"]
  return networks.profile_chosen(NET, table, path, rule, count, 3)


def test_what_is_stored_is_not_measured_again(compiled, tmp_path):
  path = tmp_path / "t.json"
  first = profile(path)
  assert compiled == first.genotypes and len(set(compiled)) == 4
  assert profile(path) == first
  assert len(compiled) == 4
  document = json.loads((tmp_path / "t.networks.json").read_text())
  (row, *_) = document["networks"]
  assert row["latency"]["repeats"] == 3
  assert row["architecture"].keys() == set(SPACE.choices)


def test_a_stopped_measurement_goes_on(compiled, tmp_path, monkeypatch):
  measure = timing.measure_networks
  monkeypatch.setattr(networks, "GROUP", 2)

  def stops(*arguments):
    if len(compiled) == 4:
      raise Stopped
    return measure(*arguments)

  monkeypatch.setattr(timing, "measure_networks", stops)
  with pytest.raises(Stopped):
    profile(tmp_path / "t.json")
  monkeypatch.setattr(timing, "measure_networks", measure)
  compiled.clear()
  assert compiled == profile(tmp_path / "t.json").genotypes[2:]


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"fingerprint": "toaster"}, "`fingerprint` is 'toaster', the table's"),
    ({"batch_size": 3}, "`batch_size` is 3, the table's is 2"),
    ({"quantity": "energy"}, "`quantity` is 'energy', the table's"),
    ({"networks": {}}, r"got `object` - at `\$.networks`"),
    ({"digest": "0"}, "`digest` does not match"),
  ],
)
def test_what_is_not_of_the_table_is_refused(
  compiled, tmp_path, change, message
):
  profile(tmp_path / "t.json")
  path = tmp_path / "t.networks.json"
  document = json.loads(path.read_text()) | change
  if "digest" not in change:
    document["digest"] = documents.digest(document)
  path.write_text(json.dumps(document))
  with pytest.raises(ValueError, match=f"{message}.*delete the file"):
    profile(tmp_path / "t.json")


@pytest.mark.parametrize(
  ("schema", "later"), [(1, ("quantity", "dtype")), (2, ("dtype",))]
)
def test_networks_of_an_older_schema_are_read(
  compiled, tmp_path, schema, later
):
  first = profile(tmp_path / "t.json")
  path = tmp_path / "t.networks.json"
  document = json.loads(path.read_text()) | {"schema": schema}
  for name in later:
    del document[name]
  document["digest"] = documents.digest(document)
  path.write_text(json.dumps(document))
  assert profile(tmp_path / "t.json") == first
  assert len(compiled) == 4


def twice(table, count):
  """Networks that take twice the table's sum."""
  genotypes = calibration.choose(
    NET,
    tables.raw_costs(table),
    RULES["argmax"],
    np.random.default_rng(0),
    count,
  )
  sums = [tables.predict_ms(table, NET, g) for g in genotypes]
  return Measured(genotypes, [2 * ms for ms in sums])


@pytest.mark.parametrize("held_out", [0, 3])
def test_a_calibrated_table_has_its_errors(held_out):
  table = make_table()
  found = networks.calibrated(NET, table, twice(table, 5 + held_out), 5)
  assert len(found.calibration.networks) == 5
  assert found.errors.raw.bias == pytest.approx(-0.5)
  assert found.errors.calibrated.median_absolute_error < 0.1
  assert found.errors.held_out == bool(held_out)
  assert found.errors.networks == (held_out or 5)


def test_the_calibrator_is_that_of_the_tables():
  assert transfer.calibrator([]) is calibration.calibrate
  table = make_table()
  other = replace(table, fingerprint="other")
  moved = transfer.move(table, table.device)
  assert moved.versions["entries_of"] == table.fingerprint
  calibrate = transfer.calibrator([table, other])
  found = networks.calibrated(NET, moved, twice(table, 8), 5, calibrate)
  assert found.errors.calibrated.median_absolute_error < 0.1


def test_a_second_quantity_is_a_sample_and_a_line(tmp_path, monkeypatch):
  """Energy of 5 mJ a call: sites, networks, table, and who may use it."""
  runs = []

  def sample_energy(run, least_ms, /):
    run()
    runs.append(least_ms)
    return 5.0 + len(runs)

  monkeypatch.setitem(METERS, "energy", Meter("energy", "mJ", sample_energy))
  monkeypatch.setattr(timing.chains, "long_length", lambda chain: 2)
  net = darts.Darts(("skip_connect",), 1, 1, 2, (4, 4, 1), 2)
  path = tmp_path / "energy.json"
  table = profile_space(net.space(), 2, path, 3, METERS["energy"])
  assert tables.LatencyTable.load(path) == table
  assert (table.quantity, table.unit) == ("energy", "mJ")
  # Each sample costs 1 more than the one before it.
  assert {e.latency_ms for e in table.entries} == {1.0}
  tables.require(table, net.space(), 2, "energy")
  with pytest.raises(ValueError, match="the energy table .* has no latency"):
    tables.require(table, net.space(), 2)
  (median,) = networks.profile_networks(net, table, path, [(0, 0)], 3)
  assert median > 5
  monkeypatch.delitem(METERS, "energy")
  with pytest.raises(ValueError, match="`quantity` is 'energy', expected one"):
    tables.LatencyTable.load(path)
