"""The name of a network: a hash of its architecture."""

import hashlib
import json
from collections.abc import Mapping


def network_id(operations: Mapping[str, str], width: float = 1.0) -> str:
  """Eight hexadecimal digits that name a network, and its folder.

  Args:
    operations: {choice: operation}, without absent choices.
    width: factor of the run's channels, of a network that was scaled.
  """
  text = json.dumps(dict(operations), sort_keys=True)
  if width != 1.0:
    text += f" width {width:g}"
  return hashlib.sha256(text.encode()).hexdigest()[:8]
