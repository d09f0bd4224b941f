"""What a user's model must be, to be searched: refusals that say what to do.

A Choice copies its operations, one network runs one of them, and all of it is
compiled as a whole. What works in an ordinary model but not under that is found
here, while the model is traced.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn

from hwnas_jax.core.types import Params
from hwnas_jax.nets.choice import Choice, label
from hwnas_jax.nets.norm import Mode

# Around a Choice. The names are those that flax puts into debug_path.
_TRANSFORMS = {
  "jit": "which would run the first network's choice in every other: leave it"
  " out, all is compiled as a whole",
  "scan": "which hides how often it runs: write a Choice for each call",
  "vmap": "which hides how often it runs: write a Choice for each call",
}
# By id: a module with weights, the user's own one, and whose operation it is.
Users = dict[int, tuple[nn.Module, str]]


def check_transforms(choice: Choice) -> None:
  """Raises ValueError for a Choice inside a transform of flax's."""
  path = choice.scope.debug_path if choice.scope else ()
  for transform, remedy in _TRANSFORMS.items():
    if any(re.search(rf"\b{transform}\(", step) for step in path):
      raise ValueError(
        f"the Choice {label(choice)} is inside nn.{transform}, {remedy}"
      )


def use(users: Users, name: str, given: nn.Module, copy: nn.Module) -> None:
  """Notes an operation's modules; raises where another has one of them.

  The copy is what ran: it knows which of them have weights.
  """
  # Within an operation flax shares what is there twice.
  own = {
    id(module): module
    for module, ran in _pairs(given, copy)
    if ran.scope is not None and ran.variables
  }
  for key, module in own.items():
    if key in users:
      raise ValueError(
        f"a module {type(module).__name__} is used in {users[key][1]} and in"
        f" {name}: each gets weights of its own here; make a module for each"
      )
    users[key] = (module, name)


def _pairs(given: Any, ran: Any) -> Iterator[tuple[nn.Module, nn.Module]]:
  """A module and those in its fields, each with what it is in the copy.

  Where a setup has put something else into a field they are left out.
  """
  if isinstance(given, nn.Module) and isinstance(ran, nn.Module):
    yield given, ran
    for field in dataclasses.fields(given):
      if field.init and field.name not in ("parent", "name"):
        yield from _pairs(getattr(given, field.name), getattr(ran, field.name))
  elif isinstance(given, (list, tuple)) and isinstance(ran, (list, tuple)):
    for part, other in zip(given, ran, strict=False):
      yield from _pairs(part, other)
  elif isinstance(given, Mapping) and isinstance(ran, Mapping):
    for key in given:
      yield from _pairs(given[key], ran.get(key))


def check_users(users: Users, variables: Params) -> None:
  """Raises ValueError where the model calls an operation's module itself."""
  for module, name in users.values():
    part = variables.get("params", {}) if module.scope is not None else {}
    for step in module.path if part else ():
      part = part.get(step, {})
    if part:
      raise ValueError(
        f"a module {type(module).__name__} is used in {name} and outside of"
        " choices: each gets weights of its own here; make a module for each"
      )


def check_variables(variables: Params, mode: Mode) -> None:
  """Raises ValueError where the model keeps what no run of it would."""
  allowed = {"params"} if mode == "search" else {"params", "batch_stats"}
  more = sorted(set(variables) - allowed)
  if more:
    remedy = (
      "normalise with hwnas_jax.nets.norm.BatchNorm(self.mode)"
      if more == ["batch_stats"]
      else "remove the module or the self.variable that makes it"
    )
    raise ValueError(
      f"it keeps {', '.join(more)} in mode {mode!r}, where nothing but"
      f" {' and '.join(sorted(allowed))} is kept: {remedy}"
    )
