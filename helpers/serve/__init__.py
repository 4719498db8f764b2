"""Service: a model folder behind an API, computed by ONNX Runtime without TensorFlow.

``python -m helpers.serve FOLDER`` starts it. It needs the extra ``service``.
"""

from helpers.serve.app import make_app as make_app
from helpers.serve.films import Limits as Limits
