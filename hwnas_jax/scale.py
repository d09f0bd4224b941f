"""`python -m hwnas_jax.scale`: see `hwnas_jax.commands.scale`."""

from hwnas_jax.commands import start

if __name__ == "__main__":
  start("scale")
