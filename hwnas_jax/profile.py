"""`python -m hwnas_jax.profile`: see `hwnas_jax.commands.profile`."""

from hwnas_jax.commands import start

if __name__ == "__main__":
  start("profile")
