"""`python -m hwnas_jax.query`: see `hwnas_jax.commands.query`."""

from hwnas_jax.commands import start

if __name__ == "__main__":
  start("query")
