import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib import figure
from msgspec.structs import replace

from hwnas_jax.io.records import Accuracies, Condition, Measurement, Shares
from hwnas_jax.report import curves, plots, shares, style
from hwnas_jax.spaces import darts


def lines(fig):
  return [line.get_xydata() for line in fig.axes[0].lines]


def point(simplex, scale, **share):
  return Shares(Condition(tuple(simplex), scale), share)


def test_known_operations_have_one_colour_in_every_space():
  spaces = [style.op_colours(ops) for ops in darts.OP_SETS.values()]
  for op in darts.THREE:
    assert len({colours[op] for colours in spaces}) == 1
  assert len(set(spaces[-1].values())) == 8


@pytest.mark.parametrize("extra", [1, 4, 9])
def test_unknown_operations_get_colours_of_their_own(extra):
  ops = ["none", "skip_connect", *(f"op{i}" for i in range(extra))]
  colours = style.op_colours(ops)
  assert list(colours) == ops
  assert len(set(colours.values())) == len(ops)


def test_pareto_draws_front_seeds_and_random_networks(family_of):
  fig = plots.pareto_figure(family_of().members)
  assert isinstance(fig, figure.Figure)
  (ax,) = fig.axes
  ours, randoms = ax.collections
  assert len(ours.get_offsets()) == 8 and len(randoms.get_offsets()) == 5
  assert ours.get_paths()[0].vertices.shape != (
    randoms.get_paths()[0].vertices.shape
  )
  steps = [line for line in ax.lines if line.get_drawstyle() == "steps-post"]
  assert len(steps) == 1
  assert np.all(np.diff(steps[0].get_ydata()) > 0)
  bars = [
    line for line in lines(fig) if np.ptp(line[:, 1]) == pytest.approx(0.004)
  ]
  assert len(bars) == 13
  names = [text.get_text() for text in ax.texts]
  assert names == ["fastest", "knee", "slowest"]


def test_a_name_stands_below_where_a_network_is_above(family_of):
  member, other = family_of().members[:2]
  timed = [
    replace(member, id=name, kind=kind, accuracies=Accuracies(a, (a,)))
    for name, kind, a in (("a", "member", 0.9), ("b", "largest", 0.905))
  ] + [replace(other, accuracies=Accuracies(0.8, (0.8,)))]

  def offset(members):
    texts = plots.pareto_figure(members).axes[0].texts
    return {t.get_text(): t.xyann[1] for t in texts}

  role = next(r for r, y in offset(timed).items() if y < 0)
  alone = offset([timed[0], timed[2]])
  assert alone[role] > 0


def test_each_kind_has_a_marker_and_a_name(family_of):
  made = family_of()
  *family, one, two = made.members
  members = [
    *family,
    replace(one, kind="largest"),
    replace(two, kind="reference"),
  ]
  (ax,) = plots.pareto_figure(members).axes
  shapes = {len(c.get_paths()[0].vertices) for c in ax.collections}
  assert len(ax.collections) == 4 and len(shapes) >= 3
  names = [t.get_text() for t in ax.get_legend().get_texts()]
  assert names == ["family", "largest", "random", "reference"]


def test_pareto_without_random_networks_or_seeds(family_of):
  member = replace(family_of().members[0], accuracies=Accuracies(0.97, (0.97,)))
  fig = plots.pareto_figure([member], "params")
  assert lines(fig) == []
  (points,) = fig.axes[0].collections
  assert points.get_offsets()[0, 0] == member.params


def test_pareto_refuses_another_cost(family_of):
  with pytest.raises(ValueError, match="latency, params, not 'flops'"):
    plots.pareto_figure(family_of().members, "flops")


def test_wide_ranges_are_logarithmic(family_of):
  members = [*family_of().members]
  assert plots.pareto_figure(members).axes[0].get_xscale() == "linear"
  members[0] = replace(members[0], latency=Measurement(300.0, 1.0))
  assert plots.pareto_figure(members).axes[0].get_xscale() == "log"


def test_prediction_has_equal_axes(family_of):
  fig = plots.prediction_figure(family_of().members)
  assert fig.axes[0].get_xlim() == fig.axes[0].get_ylim()


def test_scale_sweep_keeps_one_simplex_in_order():
  half, other = [0.5, 0.5], [0.9, 0.1]
  points = [point(half, s) for s in (1.0, 0.1, 10.0)] + [point(other, 1.0)]
  sweep = shares.scale_sweep(points)
  assert [p.condition.scale for p in sweep] == [0.1, 1.0, 10.0]
  assert shares.scale_sweep(points[:1]) == []
  assert shares.scale_sweep([point(half, 1.0), point(other, 1.0)]) == []
  assert shares.scale_sweep([]) == []


def test_simplex_grid_keeps_one_scale():
  points = [point([s, 1 - s], 1.0) for s in (0.1, 0.5, 0.9)]
  points += [point([0.5, 0.5], s) for s in (2.0, 3.0)]
  assert shares.simplex_grid(points) == points[:3]
  assert shares.simplex_grid(points[2:]) == []


def test_scale_figure_stacks_to_one():
  sweep = [point([1], 0.1, a=0.2, b=0.8), point([1], 10.0, a=0.7, b=0.3)]
  fig = shares.scale_figure(sweep, ["a", "b"])
  top = fig.axes[0].collections[-1].get_paths()[0].vertices
  assert top[:, 1].max() == pytest.approx(1)
  assert len(fig.axes[0].collections) == 2


def test_price_figure_averages_neighbours():
  grid = [point([s, 1 - s], 1.0, a=1 - s, b=s) for s in np.linspace(0, 1, 32)]
  fig = shares.price_figure(grid, ["a", "b"], ["a", "b"])
  line = lines(fig)[0]
  assert len(line) == shares.NUM_BINS
  np.testing.assert_allclose(line[:, 1], 1 - line[:, 0])


def test_ternary_needs_three_operations(family_of):
  made = family_of("five")
  grid = shares.simplex_grid(made.shares)
  with pytest.raises(ValueError, match="3 priced operations"):
    shares.ternary_figure(grid, made.priced, made.ops, "skip_connect")


def test_ternary_corners_are_named_in_the_order_of_prices(family_of):
  made = family_of()
  grid = shares.simplex_grid(made.shares)
  fig = shares.ternary_figure(grid, made.priced, made.ops, "sep_conv_3x3")
  places = {t.get_text(): t.xy for t in fig.axes[0].texts}
  assert tuple(places) == made.priced
  assert np.allclose(places[made.priced[0]], (0, 0))
  assert np.allclose(places[made.priced[1]], (1, 0))


def test_series_leaves_out_what_is_no_number():
  rows = [{"step": 1, "a": 2.0}, {"step": 2, "a": None}, {"step": 3}]
  steps, values = curves.series(rows, "a")
  assert steps.tolist() == [1] and values.tolist() == [2]
  assert curves.series([], "a")[0].shape == (0,)


def test_search_figure_is_short_however_long_the_run():
  rows = [{"step": i, "loss": i / 1000} for i in range(1000)]
  fig = curves.search_figure(rows, "loss", "Loss")
  (line,) = lines(fig)
  assert len(line) == curves.NUM_BINS
  assert line[0] == pytest.approx([6.0, 0.006])


def test_training_figure_has_a_line_for_each_trained_network(family_of):
  members = family_of().members
  rows = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]
  training = {m.id: rows for m in members[:3]} | {members[-1].id: rows}
  fig = curves.training_figure(members, training, "loss", "Loss")
  drawn = fig.axes[0].lines
  assert len(drawn) == 4
  assert [line.get_linestyle() for line in drawn].count("--") == 1
  assert len({line.get_color() for line in drawn[:3]}) == 3


def test_svg_follows_the_theme_and_is_stable(family_of):
  members = family_of().members
  svgs = [
    style.to_svg(plots.pareto_figure(members), "one", 'a "figure"')
    for _ in range(2)
  ]
  assert svgs[0] == svgs[1]
  assert "var(--ink)" in svgs[0] and style.INK not in svgs[0]
  assert 'aria-label="a &quot;figure&quot;"' in svgs[0]
  assert "<style" not in svgs[0] and "<metadata" not in svgs[0]


def test_svg_shows_tips_on_links(family_of):
  member = replace(family_of().members[0], id="a'b")
  fig = plots.pareto_figure([member])
  svg = style.to_svg(fig, "one", "x", {"#member-a'b": "<tip>"})
  root = ET.fromstring(svg.replace("xlink:", ""))
  assert [t.text for t in root.iter("title")] == ["<tip>"]
