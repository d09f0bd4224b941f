"""A table is measured entry by entry, and goes on where it was stopped."""

import pytest

from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import sites, timing
from hwnas_jax.costs.measure.meter import METERS, Meter
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.spaces import darts


def make_space(ops=("none", "skip_connect")):
  return darts.make_space(darts.Darts(ops, 3, 2, 4, (8, 8, 1), 3))


class Stopped(Exception):
  """What ends a measurement in these tests."""


@pytest.fixture
def measured(monkeypatch):
  """Sites in the order they were measured; the third group stops."""
  log: list[str] = []

  def measure_sites(sites, batch_size, repeats, meter, dtype):
    for start in range(0, len(sites), 4):
      if len(log) >= 8 and "stop" in log:
        raise Stopped
      group = sites[start : start + 4]
      log.extend(site.key for site in group)
      yield [timing.entry_of(site, [1.0] * repeats) for site in group]

  monkeypatch.setattr(timing, "measure_sites", measure_sites)
  return log


def test_a_new_table_holds_every_site(measured, tmp_path):
  space, path = make_space(), tmp_path / "a" / "table.json"
  table = sites.profile_space(space, 16, path, repeats=3)
  assert LatencyTable.load(path) == table
  tables.require(table, space, 16)
  assert measured == [site.key for site in space.unique_sites()]
  assert all(len(entry.samples_ms) == 3 for entry in table.entries)
  assert table.device.platform == "cpu"
  assert table.fingerprint.startswith("cpu-")
  assert table.versions["jax"]


def test_a_stopped_measurement_goes_on(measured, tmp_path):
  space, path = make_space(), tmp_path / "table.json"
  measured.append("stop")
  with pytest.raises(Stopped):
    sites.profile_space(space, 16, path, repeats=3)
  part = LatencyTable.read(path)
  assert not part.finished
  assert len(part.entries) == 8
  measured.clear()
  table = sites.profile_space(space, 16, path, repeats=3)
  assert table.finished
  keys = [site.key for site in space.unique_sites()]
  assert sorted(measured + [e.site.key for e in part.entries]) == sorted(keys)


def test_a_finished_table_is_left_alone(measured, tmp_path):
  space, path = make_space(), tmp_path / "table.json"
  table = sites.profile_space(space, 16, path, repeats=3)
  text = path.read_text()
  measured.clear()
  assert sites.profile_space(space, 16, path, repeats=5) == table
  assert measured == []
  assert path.read_text() == text


def test_another_space_adds_what_it_lacks(measured, tmp_path):
  path = tmp_path / "table.json"
  sites.profile_space(make_space(), 16, path, repeats=3)
  measured.clear()
  wider = make_space(("skip_connect", "sep_conv_3x3"))
  table = sites.profile_space(wider, 16, path, repeats=3)
  assert measured
  assert all(key.startswith("sep_conv_3x3") for key in measured)
  for space in (make_space(), wider):
    tables.require(table, space, 16)


def test_another_batch_size_is_refused(measured, tmp_path):
  path = tmp_path / "table.json"
  sites.profile_space(make_space(), 16, path, repeats=3)
  with pytest.raises(ValueError, match=r"batches of 16, this is .* with 32"):
    sites.profile_space(make_space(), 32, path, repeats=3)


def test_another_device_is_refused(measured, tmp_path, monkeypatch):
  path = tmp_path / "table.json"
  sites.profile_space(make_space(), 16, path, repeats=3)
  monkeypatch.setenv("XLA_FLAGS", "--some_flag")
  with pytest.raises(
    ValueError, match="was measured on cpu-.* delete the file"
  ):
    sites.profile_space(make_space(), 16, path, repeats=3)


def test_another_quantity_is_refused(measured, tmp_path, monkeypatch):
  path = tmp_path / "table.json"
  energy = Meter("energy", "mJ", lambda run, least_ms: 1.0)
  monkeypatch.setitem(METERS, "energy", energy)
  sites.profile_space(make_space(), 16, path, repeats=3)
  with pytest.raises(ValueError, match="has latency, this measures energy"):
    sites.profile_space(make_space(), 16, path, repeats=3, meter=energy)


def test_a_damaged_table_is_refused(measured, tmp_path):
  path = tmp_path / "table.json"
  path.write_text("{")
  with pytest.raises(ValueError, match="table.json is not valid JSON"):
    sites.profile_space(make_space(), 16, path, repeats=3)
  assert measured == []


def test_another_precision_is_refused(measured, tmp_path):
  space, path = make_space(), tmp_path / "table.json"
  table = sites.profile_space(space, 16, path, repeats=3, dtype="bfloat16")
  assert LatencyTable.load(path).dtype == table.dtype == "bfloat16"
  with pytest.raises(ValueError, match="in bfloat16 with batches of 16, this"):
    sites.profile_space(space, 16, path, repeats=3)
  tables.require(table, space, 16, dtype="bfloat16")
  with pytest.raises(ValueError, match="is of bfloat16, not float32: set conf"):
    tables.require(table, space, 16)
