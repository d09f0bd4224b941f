"""Configs: all load and pass, and whatever is wrong is named."""

import pathlib

import pytest
from ml_collections import ConfigDict

from hwnas_jax.config import checks
from hwnas_jax.config import fields as configuration
from hwnas_jax.config.listing import SWITCHES, listing

CONFIGS = sorted((pathlib.Path(__file__).parents[2] / "configs").rglob("*.py"))
BY_NAME = pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)


def changed(**fields):
  """The default with `part__name=value` set."""
  config = configuration.default()
  config.update_from_flattened_dict(
    {name.replace("__", "."): value for name, value in fields.items()}
  )
  return config


def leaves(config, prefix=""):
  found = set()
  for name, value in config.items():
    if isinstance(value, ConfigDict) and name != "vectors":
      found |= leaves(value, f"{prefix}{name}.")
    else:
      found.add(prefix + name)
  return found


def test_there_are_configs():
  assert {p.stem for p in CONFIGS} >= {"digits", "cifar", "fashion_mnist"}


@BY_NAME
@pytest.mark.parametrize("variant", ["", ":smoke"])
def test_a_config_loads_and_passes(path, variant):
  config = configuration.load(f"{path}{variant}")
  checks.check(config)
  assert leaves(config) == leaves(configuration.default())


@BY_NAME
def test_smoke_is_small_and_needs_no_data(path):
  config = configuration.load(f"{path}:smoke")
  assert config.data.name == "digits" or config.data.name.startswith("mock_")
  assert max(config.search.num_steps, config.train.num_steps) <= 50


@BY_NAME
def test_an_unknown_variant_is_refused(path):
  with pytest.raises(ValueError, match="no variant 'smokey'.*smoke"):
    configuration.load(f"{path}:smokey")


def test_an_absent_file_is_refused(tmp_path):
  with pytest.raises(FileNotFoundError, match="absent.py"):
    configuration.load(f"{tmp_path}/absent.py:smoke")


def test_the_default_passes():
  checks.check(configuration.default())


def test_an_unknown_field_cannot_be_set():
  config = configuration.default()
  with pytest.raises(AttributeError, match="num_stpes"):
    config.search.num_stpes = 3


def test_a_field_keeps_its_type():
  with pytest.raises(TypeError):
    configuration.default().search.num_steps = "many"


@pytest.mark.parametrize("field", checks.CHOICES)
def test_a_choice_that_there_is_not_is_refused(field):
  value = 7 if field == "controller.sign" else "nonsense"
  with pytest.raises(ValueError, match=f"{field} must be one of .*{value}"):
    checks.check(changed(**{field.replace(".", "__"): value}))


AIMED = {
  "penalty__name": "dual_ascent",
  "penalty__target": "60%",
  "condition__name": "fixed",
}
POSITIVE = checks._POSITIVE
RATES = checks._RATES


@pytest.mark.parametrize("field", POSITIVE)
@pytest.mark.parametrize("value", [0, -1])
def test_what_must_be_positive_is(field, value):
  config = configuration.default()
  kind = type(checks._field(config, field))
  config.update_from_flattened_dict({field: kind(value)})
  with pytest.raises(ValueError, match=rf"{field} must be > 0, got {value}"):
    checks.check(config)


@pytest.mark.parametrize(
  ("field", "value", "home", "other"),
  [
    ("space.ops", "three", "darts", "nasbench201"),
    ("space.num_nodes", 3, "darts", "nasbench201"),
    ("space.imagenet_stem", True, "darts", "nasbench201"),
    ("train.auxiliary_weight", 0.4, "darts", "nasbench201"),
    ("train.drop_path", 0.2, "darts", "mobile"),
    ("space.channels", 8, "nasbench201", "mobile"),
    ("space.num_cells", 3, "darts", "mobile"),
    ("derive.channels", 8, "nasbench201", "mobile"),
    ("derive.num_cells", 3, "darts", "mobile"),
    ("space.skeleton", "lightnas", "mobile", "darts"),
    ("space.width", 0.5, "mobile", "nasbench201"),
    ("controller.classifier", True, "mobile", "nasbench201"),
  ],
)
def test_a_field_is_refused_in_a_space_that_does_not_read_it(
  field, value, home, other
):
  fields = {field.replace(".", "__"): value}
  checks.check(changed(space__name=home, **fields))
  checks.check(changed(space__name=other))
  message = rf"{field} is for space.name=.*{home}.* alone.*got {value!r}"
  with pytest.raises(ValueError, match=message):
    checks.check(changed(space__name=other, **fields))


@pytest.mark.parametrize("field", RATES)
@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_a_rate_is_in_its_range(field, value):
  with pytest.raises(ValueError, match=rf"{field} must be in \[0, 1\)"):
    checks.check(changed(**{field.replace(".", "__"): value}))


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (
      {"search__num_steps": 15},
      r"search.num_steps \(15\) must be a multiple of"
      r" search.steps_per_dispatch \(10\)",
    ),
    ({"search__checkpoint_every": 7}, r"search.checkpoint_every \(7\)"),
    ({"train__num_steps": 11}, r"train.num_steps \(11\)"),
    ({"train__checkpoint_every": 1}, r"train.checkpoint_every \(1\)"),
    ({"cost__name": "paper"}, "cost.name=paper .*condition.name must be"),
    ({"condition__name": "simplex"}, "condition.name=simplex has no scale"),
    (
      {"controller__name": "table"},
      "controller.name=table cannot hear condition.name=cone",
    ),
    (
      {
        "controller__name": "table",
        "controller__classifier": True,
        "condition__name": "fixed",
      },
      "controller.classifier=True needs a controller that hears",
    ),
    ({"sampler__name": "softmax"}, "sampler.per_example needs .*noise"),
    ({"latency__calibration_networks": 2}, "calibration_networks .*, got 2"),
    ({"latency__calibration_networks": -1}, "calibration_networks .* got -1"),
    ({"condition__low": 20.0}, "condition.low and condition.high.*20.0"),
    ({"condition__low": 0.0}, "condition.low and condition.high"),
    ({"search__warmup_steps": 1000}, r"search.warmup_steps \(1000\)"),
    ({"search__warmup_steps": -1}, r"search.warmup_steps \(-1\)"),
    ({"search__weights_fraction": 0.0}, r"search.weights_fraction \(0.0\)"),
    ({"search__weights_fraction": 1.1}, r"search.weights_fraction \(1.1\)"),
    (
      {"search__weights_fraction": 1.0, "search__bilevel": True},
      r"search.weights_fraction \(1.0\).*search.bilevel",
    ),
    (
      {"penalty__target": "5ms"},
      "penalty.target is not read by penalty.name=additive; use one of hinge",
    ),
    ({"penalty__strength": 2.0}, "penalty.strength is not read by .*additive"),
    ({**AIMED, "penalty__strength": -1.0}, "penalty.strength must be >= 0"),
    (
      {**AIMED, "penalty__target": ""},
      "penalty.name=dual_ascent aims at a target: penalty.target must be",
    ),
    ({**AIMED, "penalty__target": "5"}, "penalty.target must be .* got '5'"),
    (
      {**AIMED, "condition__name": "cone"},
      "penalty.name=dual_ascent .*condition.name must be fixed, got cone",
    ),
    (
      {**AIMED, "cost__name": "paper"},
      "penalty.name=dual_ascent .*cost.name must be latency, got paper",
    ),
    (
      {
        **AIMED,
        "penalty__on": "sampled",
        "sampler__name": "softmax",
        "sampler__per_example": False,
      },
      "penalty.on=sampled needs a sampler with noise",
    ),
  ],
)
def test_what_does_not_go_together_is_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    checks.check(changed(**fields))


@pytest.mark.parametrize(
  "fields",
  [
    {"train__num_steps": 0},  # a family left untrained
    {"search__weights_fraction": 1.0},
    {"condition__name": "fixed", "controller__name": "table"},
    {"cost__name": "paper", "condition__name": "simplex"},
    {"cost__name": "paper", "condition__name": "fixed"},
    {"sampler__name": "softmax", "sampler__per_example": False},
    AIMED,
    {**AIMED, "penalty__name": "hinge", "penalty__strength": 0.5},
    {**AIMED, "penalty__target": "5ms", "penalty__on": "sampled"},
    {"penalty__on": "sampled"},
  ],
)
def test_what_goes_together_passes(fields):
  checks.check(changed(**fields))


def test_all_faults_are_named_at_once():
  config = changed(
    space__ops="nine", search__batch_size=0, train__num_steps=3, train__lr=-1.0
  )
  with pytest.raises(ValueError, match="the config is wrong") as error:
    checks.check(config)
  names = "space.ops", "search.batch_size", "train.num_steps", "train.lr"
  assert all(name in str(error.value) for name in names)


def test_the_listing_tells_every_choice():
  lines = listing().splitlines()
  for field, choices in checks.CHOICES.items():
    start = lines.index(f"config.{field}") + 1
    own = lines[start : start + len(choices)]
    told = [line.split()[0] for line in own]
    assert told == ['""' if c == "" else str(c) for c in choices]
    for line in own:
      assert len(line.split()) > 1, f"{field} says nothing of a choice"
  line = next(line for line in lines if line.startswith("  reinmax"))
  assert "Second-order straight-through" in line
  for field in SWITCHES:
    assert f"config.{field}" in lines
    assert field in leaves(configuration.default())


GDAS = {"sampler__name": "gdas", "sampler__per_example": False}


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"sampler__name": "gdas"}, "runs one path for the whole batch"),
    (
      {"sampler__name": "two_gates", "sampler__per_example": False},
      "controller.name must be table",
    ),
    (
      GDAS | {"sampler__name": "reinmax"},
      "needs temperatures of 1 or more: temperature.end",
    ),
    (
      GDAS
      | {"sampler__name": "reinmax", "temperature__end": 1.0}
      | {"temperature__start": 0.5},
      "needs temperatures of 1 or more: temperature.start is 0.5",
    ),
    ({"sampler__warmup": "ordered"}, "needs search.warmup_steps"),
    ({"search__controller_epoch_steps": 10}, "needs search.epoch_steps"),
    ({"search__epoch_steps": -10}, "search.epoch_steps must be >= 0, got -10"),
    ({"regularise__entropy": -0.1}, "regularise.entropy must be >= 0"),
    ({"derive__max_skips": -1}, "derive.max_skips must be >= 0"),
    ({**AIMED, "derive__max_skips": 2}, "dual_ascent .*max_skips must be 0"),
    ({"cost__predictor": "mlp"}, "derive.rule=top_k drops some: use argmax"),
    ({"sampler__num_samples": 0}, "sampler.num_samples must be 1 or more"),
    ({"search__order": "exact"}, "search.order=exact needs search.bilevel"),
    ({"search__every": 2}, "search.every=2 needs search.bilevel"),
    ({"search__every": 0}, "search.every must be 1 or more"),
    (
      GDAS | {"search__order": "difference", "search__bilevel": True},
      "differentiates the mixture: sampler.name must be one of softmax",
    ),
    (
      {
        "search__epoch_steps": 100,
        "search__every": 2,
        "search__bilevel": True,
      },
      "search.epoch_steps alternates whole epochs",
    ),
    ({"search__warmup_steps": 15}, "search.warmup_steps .15. must be a mult"),
    (
      {"controller__name": "piecewise", "condition__name": "fixed"},
      "controller.name=piecewise reads a scale",
    ),
    ({"condition__name": "devices"}, "search.bilevel must be True"),
    ({"derive__num_samples": 3}, "condition.name must be fixed"),
    (
      GDAS
      | {
        "cost__predictor": "mlp",
        "condition__name": "fixed",
        "penalty__on": "sampled",
      },
      "latency.calibration_networks must be 20 or more",
    ),
    ({"cost__name": "joules"}, "cost.name must be one of latency, paper"),
  ],
)
def test_parts_that_do_not_go_together_are_named(fields, message):
  with pytest.raises(ValueError, match=message):
    checks.check(changed(**fields))
