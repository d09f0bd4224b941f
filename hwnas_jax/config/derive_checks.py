"""Checks which networks a config derives, and what stands beside them."""

from hwnas_jax.config.fields import Config
from hwnas_jax.method.conditions import CONDITIONS
from hwnas_jax.nets.models import SPACES


def derive_faults(config: Config) -> list[str]:
  """Faults of sampled networks, of trained members and of references."""
  part, condition = config.derive, config.condition.name
  name, problems = str(config.space["name"]), []
  if part.num_samples and not CONDITIONS[condition].single:
    problems.append(
      "derive.num_samples samples from the logits of a single condition:"
      f" condition.name must be fixed, got {condition}"
    )
  if part.num_samples and part.num_trained:
    problems.append(
      "derive.num_samples keeps the best of samples that are all trained:"
      f" derive.num_trained must be 0, got {part.num_trained}"
    )
  if part.references and not SPACES[name].reference:
    known = [name for name, kind in SPACES.items() if kind.reference]
    problems.append(
      f"derive.references: space.name={name} has no reference architecture;"
      f" {', '.join(known)} have one"
    )
  return problems
