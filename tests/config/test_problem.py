"""A config resolved once: dimensions, prices, conditions, and points."""

import jax
import numpy as np
import pytest
from toy_config import config, small
from toy_origin import ORIGIN
from toy_space import Toy, registered

from hwnas_jax.config import problem as problems
from hwnas_jax.config.problem import Nets
from hwnas_jax.data.user import Data
from hwnas_jax.io.records import Settings, to_json
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.io.versions import made_with
from hwnas_jax.spaces.darts import make_space
from hwnas_jax.spaces.mobile import SKELETONS, Chain
from hwnas_jax.spaces.nasbench201 import NasBench201
from hwnas_jax.spaces.rules import RULES


@pytest.mark.parametrize(
  ("name", "image"),
  [
    ("digits", (8, 8, 1)),
    ("cifar10", (32, 32, 3)),
    ("fashion_mnist", (28, 28, 1)),
  ],
)
def test_shapes_are_known_without_the_data(name, image):
  nets = problems.make_nets(small(data__name=name))
  assert nets.supernet == nets.derived
  assert (nets.supernet.image, nets.supernet.num_classes) == (image, 10)


def test_shapes_of_own_images_are_read(tmp_path):
  path = tmp_path / "own.npz"
  labels = np.arange(6) % 3
  images = np.random.default_rng(0).integers(0, 255, (6, 12, 10, 2), np.uint8)
  arrays = {"x_train": images, "x_test": images}
  np.savez(path, y_train=labels, y_test=labels, **arrays)
  net = problems.make_nets(small(data__name=f"npz:{path}")).supernet
  assert net.image == (12, 10, 2) and net.num_classes == 3
  # Arrays that are at hand take the place of what the config names.
  dataset = Data(images, labels, images, labels).dataset()
  assert (
    problems.make_nets(small(data__name="cifar10"), dataset).supernet == net
  )


def test_the_derived_network_may_be_larger():
  nets = problems.make_nets(small(derive__num_cells=8, derive__channels=16))
  assert (nets.supernet.num_cells, nets.supernet.channels) == (3, 4)
  assert (nets.derived.num_cells, nets.derived.channels) == (8, 16)
  assert make_space(nets.supernet).choices == make_space(nets.derived).choices


def test_both_networks_have_the_same_choices():
  with pytest.raises(ValueError, match=r"space.num_cells=3 .*num_cells=2"):
    problems.make_nets(small(derive__num_cells=2))


def test_nasbench201_by_name():
  nets = problems.make_nets(
    small(space__name="nasbench201", derive__num_cells=5, derive__channels=16)
  )
  assert nets == Nets(
    NasBench201(3, 4, (8, 8, 1), 10), NasBench201(5, 16, (8, 8, 1), 10)
  )


def test_a_chain_by_name():
  fields = {"space__name": "mobile", "data__name": "cifar10"}
  nets = problems.make_nets(
    small(space__skeleton="lightnas_32", space__width=0.5, **fields)
  )
  assert nets.supernet is nets.derived
  assert nets.supernet == Chain(SKELETONS["lightnas_32"], (32, 32, 3), 10, 0.5)


def test_a_space_of_ones_own_by_name():
  with registered():
    made = problems.resolve(
      config(space__name="toy", space__depth=2, space__toy_ops="two")
    )
    net = problems.make_nets(made).supernet
  assert isinstance(net, Toy) and net.depth == 2 and len(net.ops) == 2
  with pytest.raises(KeyError, match="depth"):
    config(space__name="toy", space__depth=2)


def test_a_skeleton_for_larger_images_is_refused():
  config = small(space__name="mobile", space__skeleton="proxyless")
  with pytest.raises(ValueError, match=r"space.skeleton=proxyless .*8x8"):
    problems.make_nets(config)


@pytest.mark.parametrize(("name", "fits"), [("cifar10", 1), ("digits", 0)])
def test_the_auxiliary_head_needs_room(name, fits):
  config = small(data__name=name, train__auxiliary_weight=0.4)
  if fits:
    problems.make_nets(config)
  else:
    with pytest.raises(ValueError, match=r"auxiliary_weight .*5x5.* 2x2"):
      problems.make_nets(config)


def test_resolving_checks():
  assert problems.resolve(small()) == small()
  with pytest.raises(ValueError, match="search.batch_size must be > 0"):
    problems.resolve(small(search__batch_size=0))


def test_a_problem_of_counted_costs():
  config = small(cost__name="paper", condition__name="fixed")
  nets = problems.make_nets(config)
  problem = problems.make(config, nets, None)
  assert problem.target_ms is None and problem.table is None
  # A skip has sites too: all three operations are priced.
  assert problem.columns == (0, 1, 2)
  space = problem.nets.supernet.space()
  logits = np.random.default_rng(0).normal(size=space.shape)
  assert problem.rule(space, logits) == RULES[config.derive.rule](space, logits)
  (point,) = problem.points
  assert (point.name, point.condition.scale) == ("found", config.condition.high)


@pytest.mark.parametrize("name", ["fixed", "simplex", "cone"])
def test_conditions_by_name(name):
  config = small(condition__name=name)
  drawn = problems._make_conditions(config, 3).draw(jax.random.key(0))
  assert drawn.simplex.shape == (3,)
  assert 0 < drawn.scale <= config.condition.high


def test_points_over_scales():
  points = problems._make_points(small(derive__num_scales=3), 2)
  assert [point.condition.simplex for point in points] == [(0.5, 0.5)] * 3
  scales = [point.condition.scale for point in points]
  assert scales == pytest.approx([0.001, 0.1, 10.0])


def test_points_of_named_prices():
  config = small(
    condition__name="simplex",
    cost__name="paper",
    derive__vectors={"even": [1, 1], "second": [0, 3]},
  )
  points = problems._make_points(config, 2)
  assert {p.name: p.condition.simplex for p in points} == {
    "even": (0.5, 0.5),
    "second": (0.0, 1.0),
  }
  with pytest.raises(ValueError, match="derive.vectors needs names with 3"):
    problems._make_points(config, 3)


def written(path, config):
  folder = RunFolder.at(path)
  folder.write_settings(
    Settings(2, to_json(config), "main", ORIGIN), made_with()
  )
  return folder


def test_a_runs_config_is_read(tmp_path):
  config = small(search__num_steps=20)
  assert problems.read_run(written(tmp_path, config)) == config


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("num_stpes", 3, "unknown field `num_stpes` - at `search`"),
    ("num_steps", "many", "`str` - at `search.num_steps`"),
    ("num_steps", -10, "search.num_steps must be > 0, got -10"),
  ],
)
def test_a_runs_config_of_another_version_is_refused(
  tmp_path, field, value, message
):
  folder = written(tmp_path, small())
  settings = folder.settings()
  settings.config["search"][field] = value
  folder.write_settings(settings, made_with())
  message = f"config.json is not a config of this version.*{message}"
  with pytest.raises(ValueError, match=message):
    problems.read_run(folder)


def test_there_is_no_run(tmp_path):
  with pytest.raises(FileNotFoundError, match="config.json"):
    problems.read_run(RunFolder.at(tmp_path))
