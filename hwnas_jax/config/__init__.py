"""Turns a config file into typed fields and objects.

Nothing outside this folder and `commands` reads a `ConfigDict`. A config file
begins with `default()` and may use `config.presets`.
"""

from hwnas_jax.config.files import default, load

__all__ = ["default", "load"]
