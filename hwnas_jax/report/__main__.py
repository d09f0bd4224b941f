"""`python -m hwnas_jax.report`: see `hwnas_jax.commands.report`."""

from hwnas_jax.commands import start

if __name__ == "__main__":
  start("report")
