"""The ONNX conversion of each JAX primitive, by the primitive's name.

Where the plain translation is one that no deployer would run, a conversion
recognises the pattern: a strided slice before a 1x1 convolution becomes the
convolution's stride, and a window sum divided by its count AveragePool.
"""

from hwnas_jax.deploy import onnx_arithmetic, onnx_layout, onnx_windows
from hwnas_jax.deploy.onnx_conversion import Conversion

CONVERSIONS: dict[str, Conversion] = {
  **onnx_arithmetic.CONVERSIONS,
  **onnx_layout.CONVERSIONS,
  **onnx_windows.CONVERSIONS,
}
