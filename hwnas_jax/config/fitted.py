"""Checks of what is fitted in place of a part of the loss.

cost.predictor takes the place of the prices, quality.name=surrogate that of
the cross-entropy.
"""

from hwnas_jax.config.fields import Config, value
from hwnas_jax.costs.predict.fit import MIN_SAMPLES
from hwnas_jax.costs.predict.nets import NETWORKS as PREDICTORS
from hwnas_jax.method import surrogate as surrogates
from hwnas_jax.method.penalty import PENALTIES
from hwnas_jax.method.samplers import SAMPLERS


def predictor(config: Config) -> list[str]:
  """Faults of a predictor: it was trained on one-hot mixes, for one device."""
  name, problems = config.cost.predictor, []
  if not name:
    return []
  needed = {
    "cost.name": "latency",
    "condition.name": "fixed",
    "penalty.on": "sampled",
    "sampler.per_example": False,
  }
  problems += [
    f"cost.predictor needs {path}={wanted}, got {value(config, path)!r}"
    for path, wanted in needed.items()
    if value(config, path) != wanted
  ]
  if config.derive.rule == "top_k":
    problems.append(
      "cost.predictor reads an operation at every choice, and derive.rule=top_k"
      " drops some choices: derive.rule must be argmax"
    )
  trained_here = name in PREDICTORS
  if not trained_here and not config.latency.table:
    problems.append(
      "cost.predictor needs the latency.table that it was trained with"
    )
  if trained_here and config.latency.calibration_networks < MIN_SAMPLES:
    problems.append(
      f"cost.predictor={name} is trained on measured networks:"
      f" latency.calibration_networks must be {MIN_SAMPLES} or more"
    )
  if not SAMPLERS[config.sampler.name].one_hot:
    one_hot = [name for name, sampler in SAMPLERS.items() if sampler.one_hot]
    problems.append(
      f"cost.predictor needs a sampler.name of {', '.join(one_hot)}, got"
      f" {config.sampler.name}"
    )
  return problems


def surrogate(config: Config) -> list[str]:
  """Faults of a surrogate: it trains the controller alone, and no supernet."""
  if config.quality.name != "surrogate":
    return []
  problems, needs = [], "quality.name=surrogate needs"
  if config.quality.architectures < surrogates.LEAST:
    problems.append(
      f"{needs} quality.architectures of {surrogates.LEAST} or more, got"
      f" {config.quality.architectures}"
    )
  if SAMPLERS[config.sampler.name].path:
    mixtures = [name for name, s in SAMPLERS.items() if not s.path]
    problems.append(
      f"sampler.name={config.sampler.name} runs paths of a supernet: {needs}"
      f" one of {', '.join(mixtures)} (sampler.warmup may be any)"
    )
  if PENALTIES[config.penalty.name].multiplies:
    added = [name for name, kind in PENALTIES.items() if not kind.multiplies]
    problems.append(
      f"penalty.name={config.penalty.name} multiplies the cross-entropy:"
      f" {needs} one of {', '.join(added)}"
    )
  without = {
    "search.order": "first",
    "search.every": 1,
    "search.epoch_steps": 0,
    "search.same_key": False,
    "regularise.identity": 0.0,
    "controller.classifier": False,
  }
  problems += [
    f"{needs} {path}={wanted}, got {value(config, path)!r}: its controller is"
    " trained without a supernet"
    for path, wanted in without.items()
    if value(config, path) != wanted
  ]
  return problems
