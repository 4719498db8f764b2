"""Explanation: where a network looks, how far its maps can be trusted, and from whom it learned.

Importing it needs neither Xplique nor shap; a method says what to install.
"""

from helpers.explanation.attribution import METHODS as METHODS
from helpers.explanation.attribution import explain as explain
from helpers.explanation.attribution import find_layer as find_layer
from helpers.explanation.concepts import ConceptTest as ConceptTest
from helpers.explanation.concepts import FoundConcepts as FoundConcepts
from helpers.explanation.concepts import activate_channels as activate_channels
from helpers.explanation.concepts import find_concepts as find_concepts
from helpers.explanation.concepts import judge_concept as judge_concept
from helpers.explanation.concepts import visualize_channels as visualize_channels
from helpers.explanation.contribution import bootstrap_contributions as bootstrap_contributions
from helpers.explanation.contribution import leave_one_out as leave_one_out
from helpers.explanation.contribution import list_coalitions as list_coalitions
from helpers.explanation.contribution import rebuild_coalition as rebuild_coalition
from helpers.explanation.contribution import shapley_values as shapley_values
from helpers.explanation.contribution import train_coalition as train_coalition
from helpers.explanation.inside import FilmMean as FilmMean
from helpers.explanation.inside import MeanInside as MeanInside
from helpers.explanation.inside import collect_means as collect_means
from helpers.explanation.inside import pool_means as pool_means
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
