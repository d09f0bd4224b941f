"""Scaling a network up while its latency allows."""

import dataclasses
import json
import pathlib
import statistics

import pytest
from absl.testing import flagsaver

from hwnas_jax.commands import scale
from hwnas_jax.config import fields as configuration
from hwnas_jax.config import method
from hwnas_jax.derive.shortlist import Measurement
from hwnas_jax.io import writers
from hwnas_jax.report import scaling
from hwnas_jax.runs import comfort_zone
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.darts import THREE, Darts
from hwnas_jax.spaces.mobile import SKELETONS, Chain

ROOT = pathlib.Path(__file__).parents[2]
NET = Darts(THREE, 1, 2, 8, (8, 8, 1), 10)
GENOTYPE = (2, 1, 0, 2, 1)
CHAIN = Chain(SKELETONS["tiny"], (8, 8, 1), 10)


def device(nets):
  """Sixteen channels cost what eight do; pixels cost their number."""
  return [
    Measurement(
      max(net.channels, 16) * net.image[0] * net.image[1] / 1024, 0.01
    )
    for net in nets
  ]


@pytest.fixture(scope="module")
def points():
  return comfort_zone.explore(
    NET, GENOTYPE, [1.25, 2, 2.5, 3], [1.25, 1.5], device
  )


def test_a_point_is_a_network_and_has_its_real_size(points):
  """Of 8 channels 1.25 and 2 times are 16, 2.5 and 3 times 24; 10 pixels 8."""
  first, *_ = points.values()
  assert (first.channels, first.image) == ((8, 8), (8, 8))
  assert [(p.channels[0], p.image[0]) for p in points.values()] == [
    (8, 8),
    (8, 12),
    (16, 8),
    (16, 12),
    (24, 8),
    (24, 12),
  ]


def test_the_knee_has_the_most_work_that_costs_no_more(points):
  net, again = comfort_zone.knee(points, 0.02, device)
  found, own = points[net], points[NET]
  assert (found.channels, found.image, found.latency_ms) == (
    (16, 16),
    (8, 8),
    1.0,
  )
  assert found.macs > 2 * own.macs and found.params > own.params
  assert again == {net: [1.0] * comfort_zone.AGAIN}
  # With room for a half more the widest of small images is it.
  assert points[comfort_zone.knee(points, 0.5, device)[0]].channels == (24, 24)
  assert comfort_zone.knee({NET: own}, 0.0, device) == (NET, {})


def test_a_lucky_candidate_does_not_hold(points):
  """The largest seemed fast; the smaller one is slow in one of three turns."""
  turns = iter([1.0, 2.0, 1.0])

  def measure(nets):
    own, other = device(nets)
    factor = next(turns) if nets[1].channels == 16 else 1.0
    return [own, other._replace(median_ms=factor * other.median_ms)]

  lucky = {
    net: p._replace(latency_ms=1.0) if p.channels[0] == 24 else p
    for net, p in points.items()
  }
  net, again = comfort_zone.knee(lucky, 0.02, measure)
  assert (net.channels, net.image[0]) == (16, 8)
  # Step by step down in work.
  assert [(n.channels, n.image[0]) for n in again] == [
    (24, 12),
    (24, 8),
    (16, 8),
  ]
  assert [statistics.median(r) for r in again.values()] == [3.375, 1.5, 1.0]


def test_chains_of_one_size_are_measured_once(monkeypatch):
  monkeypatch.setattr(comfort_zone, "_counts", lambda *_: (1, 1))
  asked = []

  def measure(nets):
    asked.extend(nets)
    return [Measurement(1.0, 0.1)] * len(nets)

  genotype = (0,) * len(CHAIN.space().choices)
  found = comfort_zone.explore(CHAIN, genotype, [1.01, 1.02, 2], [], measure)
  assert [net.width for net in asked] == [1.0, 2.0]
  assert [p.channels for p in found.values()] == [(8, 16), (16, 32)]


@pytest.mark.parametrize("net", [NET, CHAIN])
def test_scaling_keeps_the_choices(net):
  found = comfort_zone.scaled(net, 2.0, 1.5)
  assert found.space().choices == net.space().choices
  assert found.image == (12, 12, 1)
  assert comfort_zone.scaled(net, 1.0, 1.0) == net


@pytest.mark.parametrize("name", ["digits", "mobile"])
def test_flags_make_the_wider_network(name):
  config = configuration.load(f"{ROOT}/configs/{name}.py:smoke")
  net = method.make_nets(config)[1]
  wider = comfort_zone.scaled(net, 1.5, 1.0)
  (flag,) = comfort_zone.overrides(net, wider)
  field, value = flag.removeprefix("--config.").split("=")
  config.update_from_flattened_dict({field: json.loads(value)})
  assert method.make_nets(config)[1] == wider != net
  assert comfort_zone.overrides(net, comfort_zone.scaled(net, 1.0, 1.5)) == []


def test_a_figure_marks_the_knee(points):
  rows = [point._asdict() for point in points.values()]
  (ax,) = scaling.figure(rows, rows[3], 0.02).axes
  texts = [text.get_text() for text in ax.texts]
  assert texts == ["as found", "knee: 16 channels, 12x12"]
  # Inwards from a point in the right half: the text stays inside.
  (ax,) = scaling.figure(rows, rows[5], 0.02).axes
  assert [t.get_ha() for t in ax.texts] == ["left", "right"]
  assert ax.get_legend_handles_labels()[1] == ["8x8", "12x12"]
  (ax,) = scaling.figure(rows, rows[0], 0.02).axes
  assert [t.get_text() for t in ax.texts] == [
    "as found, the knee: 8 channels, 8x8"
  ]


def test_a_network_is_measured_beside_itself(monkeypatch):
  """A device that slows down from group to group is seen through."""
  slow = iter([1.0, 2.0])

  def fake(nets, genotype, batch_size, repeats):
    factor = next(slow)
    return [Measurement(factor * m.median_ms, 0.1) for m in device(nets)]

  monkeypatch.setattr(comfort_zone, "_measure", fake)
  monkeypatch.setattr(comfort_zone, "GROUP", 2)
  nets = [dataclasses.replace(NET, channels=c) for c in (8, 24, 32, 40)]
  found = comfort_zone.measure_here(GENOTYPE, 1, 3)(nets)
  assert [m.median_ms for m in found] == [m.median_ms for m in device(nets)]


@pytest.fixture
def run(tmp_path):
  """A run folder with one network."""
  config = configuration.load(f"{ROOT}/configs/digits.py:smoke")
  config.space.update(num_cells=1, num_nodes=2, channels=8)
  edges = architecture.to_json(NET.space(), GENOTYPE)
  home = tmp_path / "networks" / "some"
  writers.write_json(tmp_path / "config.json", {"config": config.to_dict()})
  writers.write_json(home / "architecture.json", {"edges": edges})
  return tmp_path


def command(folder, monkeypatch, device, **more):
  monkeypatch.setattr(comfort_zone, "measure_here", lambda *_: device)
  given = {"workdir": str(folder), "id": "some", "sides": ["1.5"], **more}
  with flagsaver.flagsaver(**given):
    scale._main(["scale"])


def test_the_command_says_how_to_make_the_knee(run, monkeypatch, capsys):
  command(run, monkeypatch, device, widths=["1.25", "2"])
  printed = capsys.readouterr().out
  home = run / "networks" / "some"
  found = json.loads((home / "comfort.json").read_text())
  assert len(found["points"]) == 4
  assert found["own"] == found["points"][0] and found["tolerance"] == 0.02
  knee = found["knee"]
  assert knee in found["points"] and knee["channels"] == [16, 16]
  assert knee["over_own"] == [1.0] * (1 + comfort_zone.AGAIN)
  assert knee["overrides"] == ["--config.derive.channels=16"]
  assert knee["needs_images"] is None
  (line,) = [row for row in printed.splitlines() if "<- knee" in row]
  assert line.startswith("16 channels, 8x8") and "measured 4 times" in line
  assert "config with --config.derive.channels=16\n" in printed
  assert (home / "comfort.svg").read_text().count("<svg") == 1


def test_the_command_says_that_no_flag_makes_larger_images(
  run, monkeypatch, capsys
):
  alike = lambda nets: [Measurement(1.0, 0.1)] * len(nets)  # noqa: E731
  command(run, monkeypatch, alike, widths=["1"])
  printed = capsys.readouterr().out
  assert "the knee needs images of 12x12, which no flag makes" in printed
  assert "config with" not in printed
  with pytest.raises(SystemExit, match="^scale: .*none"):
    command(run, monkeypatch, alike, id="none")
