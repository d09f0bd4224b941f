"""What a config may say: whatever is wrong is named, all of it at once."""

import pytest
from toy_config import config

from hwnas_jax.config import checks
from hwnas_jax.config.numbers import RANGES, SHARE
from hwnas_jax.method import SAMPLERS


def test_the_default_passes():
  checks.check(config())


@pytest.mark.parametrize("field", checks.choices())
def test_a_choice_that_there_is_not_is_refused(field):
  value = 7 if field == "controller.sign" else "nonsense"
  with pytest.raises(ValueError, match=f"{field} must be one of .*{value}"):
    checks.check(config(**{field: value}))


@pytest.mark.parametrize(
  ("space", "field"), [("darts", "ops"), ("mobile", "skeleton")]
)
def test_a_space_has_choices_of_its_own(space, field):
  fields = {"space.name": space, f"space.{field}": "nonsense"}
  with pytest.raises(ValueError, match=f"space.{field} must be one of .*nonse"):
    checks.check(config(**fields))


def test_what_is_registered_may_be_named(monkeypatch):
  with pytest.raises(ValueError, match="sampler.name must be one of .*'mine'"):
    checks.check(config(sampler__name="mine"))
  monkeypatch.setitem(SAMPLERS, "mine", SAMPLERS["gumbel_softmax"])
  checks.check(config(sampler__name="mine"))


AIMED = {
  "penalty__name": "dual_ascent",
  "penalty__target": "60%",
  "condition__name": "fixed",
}


POSITIVE = [
  p
  for p, r in RANGES.items()
  if (r.low, r.open_low) == (0, True) and r.high > 1
]
NOT_NEGATIVE = [
  p
  for p, r in RANGES.items()
  if (r.low, r.open_low) == (0, False) and r.high > 1 and p != "seed"
]


@pytest.mark.parametrize("field", POSITIVE)
@pytest.mark.parametrize("value", [0, -1])
def test_what_must_be_positive_is(field, value):
  kind = type(checks.value(config(), field))
  with pytest.raises(ValueError, match=rf"{field} must be > 0, got {value}"):
    checks.check(config(**{field: kind(value)}))


@pytest.mark.parametrize("field", NOT_NEGATIVE)
def test_what_must_not_be_negative_is_not(field):
  kind = type(checks.value(config(), field))
  with pytest.raises(ValueError, match=rf"{field} must be >= 0, got -1"):
    checks.check(config(**{field: kind(-1)}))


@pytest.mark.parametrize(
  ("space", "field"),
  [
    ("darts", "num_cells"),
    ("darts", "num_nodes"),
    ("darts", "channels"),
    ("nasbench201", "num_cells"),
    ("nasbench201", "channels"),
    ("mobile", "width"),
  ],
)
@pytest.mark.parametrize("value", [0, -1])
def test_what_must_be_positive_in_a_space_is(space, field, value):
  fields = {"space.name": space, f"space.{field}": value}
  message = rf"space.{field} must be > 0, got {value}"
  with pytest.raises(ValueError, match=message):
    checks.check(config(**fields))


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
  fields = {field: value}
  checks.check(config(space__name=home, **fields))
  checks.check(config(space__name=other))
  message = rf"{field} is only for space.name=.*{home}.*got {value!r}"
  with pytest.raises(ValueError, match=message):
    checks.check(config(space__name=other, **fields))


@pytest.mark.parametrize("field", [p for p, r in RANGES.items() if r == SHARE])
@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_a_rate_is_in_its_range(field, value):
  with pytest.raises(ValueError, match=rf"{field} must be in \[0, 1\)"):
    checks.check(config(**{field: value}))


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"cost__name": "paper"}, "cost.name=paper .*condition.name must be"),
    ({"condition__name": "simplex"}, "condition.name=simplex has no scale"),
    (
      {"controller__name": "table"},
      "controller.name=table does not read the condition, .*=cone",
    ),
    (
      {
        "controller__name": "table",
        "controller__classifier": True,
        "condition__name": "fixed",
      },
      "controller.classifier=True needs a controller that reads",
    ),
    ({"sampler__name": "softmax"}, "sampler.per_example=True needs .*random"),
    ({"latency__calibration_networks": 2}, "calibration_networks .*, got 2"),
    ({"latency__calibration_networks": -1}, "calibration_networks .* got -1"),
    ({"condition__low": 20.0}, "condition.low and condition.high.*20.0"),
    ({"condition__low": 0.0}, "condition.low and condition.high"),
    (
      {
        "condition__name": "fixed",
        "controller__name": "table",
        "condition__high": 0.0,
      },
      "condition.high must be > 0, got 0.0",
    ),
    (
      {
        "search__bilevel": True,
        "search__epoch_steps": 10,
        "search__same_key": True,
      },
      "search.same_key .* search.epoch_steps lets them take turns",
    ),
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
      "penalty.target has no effect with penalty.name=additive: leave it out",
    ),
    ({"penalty__strength": 2.0}, "penalty.strength has no effect .*additive"),
    ({**AIMED, "penalty__strength": -1.0}, "penalty.strength must be >= 0"),
    (
      {**AIMED, "penalty__target": ""},
      "penalty.name=dual_ascent needs a target: penalty.target must be",
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
      "penalty.on=sampled needs a sampler that draws at random",
    ),
  ],
)
def test_what_does_not_go_together_is_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    checks.check(config(**fields))


@pytest.mark.parametrize(
  "fields",
  [
    {"train__num_steps": 0},  # a family left untrained
    {"search__weights_fraction": 1.0},
    {"condition__name": "fixed", "controller__name": "table"},
    {  # a fixed scale reads condition.high alone
      "condition__name": "fixed",
      "controller__name": "table",
      "condition__high": 0.0005,
    },
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
  checks.check(config(**fields))


def test_all_faults_are_named_at_once():
  wrong = config(
    space__ops="nine", search__batch_size=0, train__num_steps=3, train__lr=-1.0
  )
  with pytest.raises(ValueError, match="the config is wrong") as error:
    checks.check(wrong)
  names = "space.ops", "search.batch_size", "train.num_steps", "train.lr"
  assert all(name in str(error.value) for name in names)


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
    ({"derive__max_skips": -1}, "derive.max_skips must be >= 0"),
    ({**AIMED, "derive__max_skips": 2}, "dual_ascent .*max_skips must be 0"),
    (
      {"cost__predictor": "mlp"},
      "top_k drops some choices: derive.rule must be",
    ),
    ({"sampler__num_samples": 0}, "sampler.num_samples must be > 0"),
    ({"search__order": "exact"}, "search.order=exact needs search.bilevel"),
    ({"search__every": 2}, "search.every=2 needs search.bilevel"),
    ({"search__every": 0}, "search.every must be > 0"),
    (
      GDAS | {"search__order": "difference", "search__bilevel": True},
      "runs all operations: sampler.name must be one of softmax",
    ),
    (
      {
        "search__epoch_steps": 100,
        "search__every": 2,
        "search__bilevel": True,
      },
      "search.epoch_steps lets weights and controller take turns",
    ),
    ({"search__warmup_steps": 15}, "search.warmup_steps .15. must be a mult"),
    (
      {"controller__name": "piecewise", "condition__name": "fixed"},
      "controller.name=piecewise reads a scale",
    ),
    ({"condition__name": "devices"}, "search.bilevel must be True"),
    ({"derive__num_samples": 3}, "condition.name must be fixed"),
    ({"derive__num_trained": -1}, "derive.num_trained must be >= 0, got -1"),
    (
      {"derive__num_samples": 3, "derive__num_trained": 2},
      "derive.num_trained must be 0, got 2",
    ),
    (
      {"derive__references": True, "space__name": "custom"},
      "custom has no reference architecture; darts, nasbench201, mobile have",
    ),
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
    checks.check(config(**fields))
