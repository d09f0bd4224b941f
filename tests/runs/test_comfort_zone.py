"""Scaling a network up while its latency allows."""

import dataclasses
import itertools
import json
import statistics

import pytest
from jobs import here
from msgspec.structs import replace

import hwnas_jax as hw
from hwnas_jax.config import problem as problems
from hwnas_jax.data import embedded
from hwnas_jax.io.records import (
  ComfortZone,
  Measurement,
  Network,
)
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.io.versions import device_fingerprint
from hwnas_jax.nets import models
from hwnas_jax.report import scaling
from hwnas_jax.runs import comfort_zone, pipeline
from hwnas_jax.runs.comfort_zone import Grid
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.darts import THREE, Darts
from hwnas_jax.spaces.mobile import SKELETONS, Chain

NET = Darts(THREE, 1, 2, 8, (8, 8, 1), 10)
GENOTYPE = (2, 1, 0, 2, 1)
CHAIN = Chain(SKELETONS["tiny"], (8, 8, 1), 10)
GRID = Grid((1.25, 2, 2.5, 3), (1.25, 1.5))


def device(nets):
  """Sixteen channels take what eight do; pixels take their number."""
  return [
    Measurement(
      max(net.channels, 16) * net.image[0] * net.image[1] / 1024, 0.01
    )
    for net in nets
  ]


@pytest.fixture(scope="module")
def points():
  return comfort_zone.explore(NET, GENOTYPE, GRID, device)


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


def test_the_knee_has_the_most_work_that_takes_no_longer(points):
  net, again = comfort_zone.knee(points, 0.02, device)
  knee, first = points[net], points[NET]
  assert (knee.channels, knee.image) == ((16, 16), (8, 8))
  assert knee.latency.median_ms == 1.0
  assert knee.macs > 2 * first.macs and knee.params > first.params
  assert again == {net: [1.0] * comfort_zone.AGAIN}
  # With room for a half more the widest of small images is it.
  assert points[comfort_zone.knee(points, 0.5, device)[0]].channels == (24, 24)
  assert comfort_zone.knee({NET: first}, 0.0, device) == (NET, {})


def test_a_lucky_candidate_does_not_hold(points):
  """The largest seemed fast; the smaller one is slow in one of three turns."""
  turns = iter([1.0, 2.0, 1.0])

  def measure(nets):
    first, other = device(nets)
    factor = next(turns) if nets[1].channels == 16 else 1.0
    return [first, replace(other, median_ms=factor * other.median_ms)]

  lucky = {
    net: p._replace(latency=Measurement(1.0, 0.01))
    if p.channels[0] == 24
    else p
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
  grid = Grid((1.01, 1.02, 2), ())
  points = comfort_zone.explore(CHAIN, genotype, grid, measure)
  assert [net.width for net in asked] == [1.0, 2.0]
  assert [p.channels for p in points.values()] == [(8, 16), (16, 32)]


@pytest.mark.parametrize("net", [NET, CHAIN])
def test_scaling_keeps_the_choices(net):
  scaled = models.scaled(net, 2.0, 1.5)
  assert scaled.space().choices == net.space().choices
  assert scaled.image == (12, 12, 1)
  assert models.scaled(net, 1.0, 1.0) == net


@pytest.mark.parametrize("name", ["digits", "mobile"])
def test_flags_make_the_wider_network(name):
  config = hw.load_config(f"{name}:smoke")
  net = problems.make_nets(problems.resolve(config)).derived
  wider = models.scaled(net, 1.5, 1.0)
  (flag,) = comfort_zone.overrides(net, wider)
  field, value = flag.removeprefix("--config.").split("=")
  config.update_from_flattened_dict({field: json.loads(value)})
  again = problems.make_nets(problems.resolve(config)).derived
  assert again == wider != net
  assert comfort_zone.overrides(net, models.scaled(net, 1.0, 1.5)) == ()


def test_a_figure_marks_the_knee(points):
  rows = [comfort_zone._record(NET, net, points, {}) for net in points]

  def axes(knee):
    zone = ComfortZone(
      id="some",
      batch_size=1,
      tolerance=0.02,
      knee=knee,
      points=tuple(rows),
      versions={},
      device=device_fingerprint(),
    )
    (ax,) = scaling.figure(zone).axes
    return ax

  texts = [text.get_text() for text in axes(rows[3]).texts]
  assert texts == ["unscaled", "knee: 16 channels, 12x12"]
  # Inwards from a point in the right half: the text stays inside.
  ax = axes(rows[5])
  assert [t.get_ha() for t in ax.texts] == ["left", "right"]
  assert ax.get_legend_handles_labels()[1] == ["8x8", "12x12"]
  assert [t.get_text() for t in axes(rows[0]).texts] == [
    "unscaled, the knee: 8 channels, 8x8"
  ]


def test_a_network_is_measured_beside_itself(monkeypatch):
  """A device that slows down from group to group is seen through."""
  slow = iter([1.0, 2.0])

  def fake(nets, genotype, batch_size, repeats, dtype):
    factor = next(slow)
    return [Measurement(factor * m.median_ms, 0.1) for m in device(nets)]

  monkeypatch.setattr(comfort_zone, "_measure", fake)
  monkeypatch.setattr(comfort_zone, "GROUP", 2)
  nets = [dataclasses.replace(NET, channels=c) for c in (8, 24, 32, 40)]
  measured = comfort_zone.measure_here(GENOTYPE, 1, 3)(nets)
  assert [m.median_ms for m in measured] == [m.median_ms for m in device(nets)]


def test_this_device_measures_every_network():
  nets = [dataclasses.replace(NET, channels=c) for c in (2, 4)]
  measured = comfort_zone.measure_here(GENOTYPE, 1, 3)(nets)
  assert len(measured) == 2 and all(m.median_ms > 0 for m in measured)


@pytest.fixture
def folder(tmp_path):
  """A run folder with one network, which is called "some"."""
  config = hw.load_config("digits:smoke")
  config.space.update(num_cells=1, num_nodes=2, channels=8)
  folder = RunFolder(tmp_path)
  fields, data = problems.resolve(config), embedded.digits()
  nets = problems.make_nets(fields, data)
  pipeline.begin(folder, fields, "command", data, nets)
  chosen = architecture.to_json(NET.space(), GENOTYPE)
  name = architecture.identity(NET.space(), GENOTYPE)
  folder.network(name).write_architecture(Network(chosen))
  return folder


def command(folder, monkeypatch, device, **flags):
  """The command, on a made-up device."""
  monkeypatch.setattr(comfort_zone, "measure_here", lambda *_: device)
  (name,) = (path.name for path in (folder.path / "networks").iterdir())
  given = {"workdir": folder.path, "id": name, "sides": "1.5", **flags}
  here("scale", *(f"--{flag}={value}" for flag, value in given.items()))
  return folder.network(name)


def test_the_command_says_how_to_make_the_knee(folder, monkeypatch, capsys):
  home = command(folder, monkeypatch, device=device, widths="1.25,2")
  printed = capsys.readouterr().out
  zone = home.comfort_zone()
  assert len(zone.points) == 4 and zone.id == home.id
  assert zone.points[0].channels == (8, 8) and zone.tolerance == 0.02
  knee = zone.knee
  assert knee in zone.points and knee.channels == (16, 16)
  assert knee.over_found == (1.0,) * (1 + comfort_zone.AGAIN)
  assert knee.overrides == ("--config.derive.channels=16",)
  assert knee.needs_images is None
  (line,) = [row for row in printed.splitlines() if "<- knee" in row]
  assert line.startswith("16 channels, 8x8") and "measured 4 times" in line
  assert "config with --config.derive.channels=16\n" in printed
  assert home.comfort_figure.read_text().count("<svg") == 1
  assert printed.endswith(f"{home.comfort_figure}\n")


def test_the_command_says_that_no_flag_makes_larger_images(
  folder, monkeypatch, capsys
):
  alike = lambda nets: [Measurement(1.0, 0.1)] * len(nets)  # noqa: E731
  command(folder, monkeypatch, alike, widths="1")
  printed = capsys.readouterr().out
  assert "the knee needs images of 12x12, which no flag makes" in printed
  assert "config with" not in printed
  with pytest.raises(SystemExit, match="^scale: .*none"):
    command(folder, monkeypatch, alike, id="none")
  with pytest.raises(
    SystemExit, match="^scale: --widths and --sides must be > 0"
  ):
    command(folder, monkeypatch, alike, widths="-1")


def test_the_command_says_where_nothing_larger_fits(
  folder, monkeypatch, capsys
):
  times = itertools.count(1)
  slower = lambda nets: [Measurement(next(times), 0.1) for _ in nets]  # noqa: E731
  command(folder, monkeypatch, slower, widths="2")
  assert "every larger network is slower" in capsys.readouterr().out
