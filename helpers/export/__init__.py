"""Export: the model folder that a trained network is handed over in, and what checks it.

Nothing here imports TensorFlow before a model is exported, so that a service need not have it.
"""

from helpers.export.card import make_card as make_card
from helpers.export.card import render_card as render_card
from helpers.export.folder import check_folder as check_folder
from helpers.export.folder import export_model as export_model
from helpers.export.folder import read_folder as read_folder
from helpers.export.formats import FORMATS as FORMATS
from helpers.export.formats import load_predictor as load_predictor
