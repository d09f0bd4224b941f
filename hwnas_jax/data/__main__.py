"""`python -m hwnas_jax.data`: see `hwnas_jax.commands.data`."""

from hwnas_jax.commands import start

if __name__ == "__main__":
  start("data")
