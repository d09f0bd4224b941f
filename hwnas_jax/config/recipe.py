"""Checks of how long a config searches and trains, and with what help."""

import msgspec

from hwnas_jax.config.fields import Config
from hwnas_jax.method.conditions import CONDITIONS
from hwnas_jax.method.samplers import SAMPLERS
from hwnas_jax.nets.models import SPACES


def dispatches(config: Config) -> list[str]:
  """Faults of step counts: each is a whole number of dispatches."""
  problems = []
  for part in ("search", "train"):
    fields = msgspec.structs.asdict(getattr(config, part))
    dispatch = fields["steps_per_dispatch"]
    problems += [
      f"{part}.{name} ({fields[name]}) must be a multiple of"
      f" {part}.steps_per_dispatch ({dispatch})"
      for name in (
        *("num_steps", "checkpoint_every", "warmup_steps"),
        *("epoch_steps", "controller_epoch_steps"),
      )
      if name in fields and dispatch > 0 and fields[name] % dispatch
    ]
  return problems


def devices(config: Config) -> list[str]:
  """Faults of `devices`: it divides every batch."""
  count = config.devices
  if count < 1:  # which `numbers` says
    return []
  parts = ("search",) if config.train.side_by_side else ("search", "train")
  return [
    f"{part}.batch_size ({size}) must be a multiple of devices ({count})"
    for part in parts
    if (size := getattr(config, part).batch_size) % count
  ]


def parts(config: Config) -> list[str]:
  """Faults of train.parts: each has as many images on every device."""
  count, size = config.train.parts, config.train.batch_size
  devices = 1 if config.train.side_by_side else config.devices
  if count < 1 or devices < 1 or not size % (count * devices):
    return []
  return [
    f"train.batch_size ({size}) must be a multiple of train.parts ({count})"
    + (f" times devices ({devices})" if devices > 1 else "")
  ]


def conditions(config: Config) -> list[str]:
  """Faults of search.conditions_per_step."""
  count, size = config.search.conditions_per_step, config.search.batch_size
  problems, name = [], f"search.conditions_per_step ({count})"
  if count <= 1 or config.devices < 1:  # below 1: which `numbers` says
    return []
  if size % count:
    problems.append(f"search.batch_size ({size}) must be a multiple of {name}")
  if count % config.devices:
    problems.append(
      f"{name} must be 1 or a multiple of devices ({config.devices})"
    )
  if CONDITIONS[config.condition.name].several_devices:
    problems.append(
      f"{name} must be 1 with condition.name={config.condition.name}: a step"
      " draws a condition for each device of it"
    )
  if SAMPLERS[config.sampler.name].moves_logits:
    problems.append(
      f"{name} must be 1 with sampler.name={config.sampler.name}: it changes"
      " the logits that one sample was drawn from"
    )
  return problems


def helpers(config: Config) -> list[str]:
  """Faults of train.teacher and train.inherit."""
  part, problems = config.train, []
  problems += [
    f"train.{field}=True trains nothing with train.num_steps=0: leave it False"
    for field in ("teacher", "inherit")
    if getattr(part, field) and not part.num_steps
  ]
  if part.teacher and config.derive.num_samples:
    problems.append(
      "derive.num_samples compares networks that are trained alike, and the"
      " teacher is trained without one: train.teacher must be False"
    )
  elif part.teacher and CONDITIONS[config.condition.name].single:
    problems.append(
      "train.teacher=True needs a family of several networks, and"
      f" condition.name={config.condition.name} gives one"
    )
  if not part.inherit:
    return problems
  space = config.space
  problems += [
    "train.inherit=True needs networks of the supernet's shapes:"
    f" derive.{field} must be 0 or space.{field} ({space[field]}), got {value}"
    for field in SPACES[str(space["name"])].derive_fields
    if (value := getattr(config.derive, field)) not in (0, space[field])
  ]
  if config.derive.references:
    problems.append(
      "train.inherit=True needs networks of the supernet's shapes, and a"
      " reference is scaled: derive.references must be False"
    )
  if config.controller.classifier:
    problems.append(
      "train.inherit=True needs a supernet with one classifier:"
      " controller.classifier must be False"
    )
  return problems
