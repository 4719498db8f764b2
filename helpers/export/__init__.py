"""Export: the folder in which a trained network is handed over, and the checks of who receives it.

Only writing a folder, and loading Keras or SavedModel from one, import TensorFlow.
"""

from helpers.export.card import make_card as make_card
from helpers.export.folder import export_model as export_model
from helpers.export.folder import load_predictor as load_predictor
from helpers.export.formats import FORMATS as FORMATS
from helpers.export.run import describe_run as describe_run
from helpers.model_folder import check_folder as check_folder
