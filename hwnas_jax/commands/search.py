"""Searches, derives, trains and reports: the main job's command line.

python -m hwnas_jax.main --config=configs/digits.py --workdir=runs/digits
python -m hwnas_jax.main --config=configs/cifar.py:smoke --config.seed=1
python -m hwnas_jax.main --list
"""

import pathlib
import shlex
import sys
from collections.abc import Sequence

from absl import app, flags, logging
from ml_collections import config_flags

from hwnas_jax.io.loop import Stopped

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "FILE[:variant]; fields are set by --config.x.y=z"
)
_WORKDIR = flags.DEFINE_string(
  "workdir", "", "run folder; by default runs/<config's name>"
)
_LIST = flags.DEFINE_bool(
  "list", False, "tells every component that a config may name"
)


def _main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
  if _LIST.value:
    from hwnas_jax.config.listing import listing

    print(listing())
    return
  if _CONFIG.value is None:
    sys.exit("hwnas_jax: give --config=FILE[:variant], or --list")
  # After the flags, so that `--help` and a wrong flag answer at once.
  from hwnas_jax.io.cache import use_compilation_cache
  from hwnas_jax.runs import pipeline

  use_compilation_cache()
  logging.set_verbosity(logging.WARNING)  # orbax logs every save
  spec = config_flags.get_config_filename(flags.FLAGS["config"])
  name = pathlib.Path(spec.partition(":")[0]).stem
  workdir = _WORKDIR.value or f"runs/{name}"
  command = shlex.join(["python", "-m", "hwnas_jax.main", *sys.argv[1:]])
  try:
    report = pipeline.main_job(_CONFIG.value, workdir, command)
  except Stopped as stopped:
    logging.warning("%s; the same command goes on from there", stopped)
    sys.exit(143)
  except (ValueError, FileNotFoundError, FloatingPointError) as error:
    sys.exit(f"hwnas_jax: {error}")
  print(f"report: {report}")


if __name__ == "__main__":
  app.run(_main)
