"""From a config file to objects: the only part that reads a ConfigDict.

What a config file needs is here: `default`, and `presets` beside it.
"""

from hwnas_jax.config.files import default, load

__all__ = ["default", "load"]
