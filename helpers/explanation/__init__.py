"""Explanation: where a network looks, and how far its maps can be trusted.

Importing it needs neither Xplique nor shap; a method says what to install.
"""

from helpers.explanation.attribution import METHODS as METHODS
from helpers.explanation.attribution import explain as explain
from helpers.explanation.attribution import find_layer as find_layer
from helpers.explanation.quality import MEASURES as MEASURES
from helpers.explanation.quality import add_noise as add_noise
from helpers.explanation.quality import assess as assess
from helpers.explanation.quality import deletion as deletion
from helpers.explanation.quality import fidelity as fidelity
from helpers.explanation.quality import insertion as insertion
from helpers.explanation.quality import mass_in_mask as mass_in_mask
from helpers.explanation.quality import overlap as overlap
from helpers.explanation.quality import pointing_game as pointing_game
from helpers.explanation.quality import rank_correlation as rank_correlation
from helpers.explanation.quality import shuffle_weights as shuffle_weights
