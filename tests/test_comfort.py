"""Scaling a network up while its latency allows."""

import dataclasses

import pytest

from hwnas_jax import comfort
from hwnas_jax.report import scaling
from hwnas_jax.search.query import Measurement
from hwnas_jax.spaces.darts import THREE, Darts
from hwnas_jax.spaces.mobile import SKELETONS, Chain

NET = Darts(THREE, 3, 2, 8, (8, 8, 1), 10)
GENOTYPE = (2,) * 10
CHAIN = Chain(SKELETONS["tiny"], (8, 8, 1), 10)


def device(nets):
  """Sixteen channels cost what eight do; pixels cost their number."""
  return [
    Measurement(
      max(net.channels, 16) * net.image[0] * net.image[1] / 1024, 0.01
    )
    for net in nets
  ]


def test_the_knee_has_the_most_work_that_costs_no_more():
  points = comfort.explore(NET, GENOTYPE, [2, 2.5, 3], [1.5], device)
  assert (points[0].width, points[0].side) == (1, 1)
  assert len(points) == 8
  found = comfort.knee(points, 0.02)
  assert (found.width, found.side, found.latency_ms) == (2, 1, 1.0)
  assert found.macs > 2 * points[0].macs and found.params > points[0].params
  # With room for a half more the widest of small images is it.
  assert comfort.knee(points, 0.5).width == 2.5
  assert comfort.knee(points[:1], 0.0) == points[0]


def test_what_rounds_alike_is_measured_once():
  asked = []

  def measure(nets):
    asked.extend(nets)
    return device(nets)

  comfort.explore(NET, GENOTYPE, [1.01, 1.02, 2], [], measure)
  assert [net.channels for net in asked] == [8, 16]


@pytest.mark.parametrize("net", [NET, CHAIN])
def test_scaling_keeps_the_choices(net):
  found = comfort.scaled(net, 2.0, 1.5)
  assert found.space().choices == net.space().choices
  assert found.image == (12, 12, 1)
  assert comfort.scaled(net, 1.0, 1.0) == net


def test_a_figure_marks_the_knee():
  points = comfort.explore(NET, GENOTYPE, [2, 2.5, 3], [1.5], device)
  rows = [point._asdict() for point in points]
  fig = scaling.figure(rows, comfort.knee(points, 0.02)._asdict(), 0.02)
  (ax,) = fig.axes
  texts = [text.get_text() for text in ax.texts]
  assert "width x 2" in texts and "as found" in texts


def test_a_network_is_measured_beside_itself(monkeypatch):
  """A device that slows down from group to group is seen through."""
  slow = iter([1.0, 2.0])

  def fake(nets, genotype, batch_size, repeats):
    factor = next(slow)
    return [Measurement(factor * m.median_ms, 0.1) for m in device(nets)]

  monkeypatch.setattr(comfort, "_measure", fake)
  monkeypatch.setattr(comfort, "GROUP", 2)
  nets = [dataclasses.replace(NET, channels=c) for c in (8, 24, 32, 40)]
  found = comfort.measure_here(GENOTYPE, 1, 3)(nets)
  assert [m.median_ms for m in found] == [m.median_ms for m in device(nets)]
