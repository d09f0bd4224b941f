"""`python -m hwnas_jax.export`: see `hwnas_jax.commands.export`."""

from hwnas_jax.commands import start

if __name__ == "__main__":
  start("export")
