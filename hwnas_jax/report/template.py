"""HTML from the templates beside this module.

Every value that a template prints is escaped, unless it is `Markup`: HTML that
this package made.
"""

import jinja2
from markupsafe import Markup

from hwnas_jax.report import cells, words

_ENVIRONMENT = jinja2.Environment(
  loader=jinja2.PackageLoader("hwnas_jax.report"),
  autoescape=True,
  undefined=jinja2.StrictUndefined,
  trim_blocks=True,
  lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {
  "accuracy": words.accuracy,
  "count": words.count,
  "dash": cells.dash,
  "measured": words.measured,
  "ms": words.ms,
  "percent": words.percent,
}


def render(template: str, /, **values: object) -> Markup:
  """Fills in a template.

  Args:
    template: a file in report/templates, such as `page.html.jinja`.
    **values: what the template reads.

  Raises:
    jinja2.UndefinedError: the template reads a value that was not given.
  """
  return Markup(_ENVIRONMENT.get_template(template).render(**values))
