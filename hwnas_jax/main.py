"""`python -m hwnas_jax.main`: see `hwnas_jax.commands.search`."""

from hwnas_jax.commands import start

if __name__ == "__main__":
  start("search")
