"""The ONNX conversion of each JAX primitive, by the primitive's name.

Where the plain translation is one that no deployer would run, a conversion
recognises the pattern: a strided slice before a 1x1 convolution becomes the
convolution's stride, and a window sum divided by its count AveragePool.
"""

from hwnas_jax.deploy import (
  onnx_arithmetic,
  onnx_indexing,
  onnx_layout,
  onnx_products,
  onnx_reductions,
  onnx_rewrites,
  onnx_windows,
)
from hwnas_jax.deploy.onnx_conversion import Conversion, Rewrite

CONVERSIONS: dict[str, Conversion] = {
  **onnx_arithmetic.CONVERSIONS,
  **onnx_indexing.CONVERSIONS,
  **onnx_layout.CONVERSIONS,
  **onnx_products.CONVERSIONS,
  **onnx_reductions.CONVERSIONS,
  **onnx_windows.CONVERSIONS,
}
REWRITES: dict[str, Rewrite] = onnx_rewrites.REWRITES
# These move values, so nothing needs to be rounded again.
EXACT = {*onnx_layout.CONVERSIONS, *onnx_indexing.CONVERSIONS}
EXACT |= {"stop_gradient", "optimization_barrier", "copy", "select_n"}
EXACT |= {"reduce_max", "reduce_min", "reduce_window_max", "max", "min", "abs"}
