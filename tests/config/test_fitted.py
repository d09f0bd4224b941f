"""What a surrogate of quality goes together with."""

import pytest
from toy_config import config

from hwnas_jax.config import checks


def check(**fields):
  checks.check(config(quality__name="surrogate", **fields))


@pytest.mark.parametrize("name", ["softmax", "gumbel_softmax", "dirichlet"])
def test_a_surrogate_reads_mixtures(name):
  check(sampler__name=name, sampler__per_example=False)
  check(sampler__name="straight_through", regularise__entropy=-0.5)
  check(search__warmup_steps=100, sampler__warmup="ordered")
  check(condition__name="devices", search__bilevel=True)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (
      {"sampler__name": "gdas", "sampler__per_example": False},
      "gdas runs paths of a supernet: .* one of softmax, gumbel_softmax",
    ),
    (
      {
        "penalty__name": "power",
        "penalty__target": "60%",
        "condition__name": "fixed",
      },
      "power multiplies the cross-entropy: .* one of none, additive, hinge",
    ),
    ({"quality__architectures": 9}, "architectures of 10 or more, got 9"),
    ({"regularise__identity": 0.3}, "needs regularise.identity=0.0, got 0.3"),
    (
      {"search__every": 2, "search__bilevel": True},
      "needs search.every=1, got 2: its controller is trained without",
    ),
  ],
)
def test_what_needs_a_supernet_is_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    check(**fields)
  fields = {k: v for k, v in fields.items() if not k.startswith("quality")}
  checks.check(config(**fields))
