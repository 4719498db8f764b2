"""Fairness: which patients data and model serve less well, and what can be done about it."""

from helpers.fairness.audit import OddsRatio as OddsRatio
from helpers.fairness.audit import correct_holm as correct_holm
from helpers.fairness.audit import describe_planted as describe_planted
from helpers.fairness.audit import explain_association as explain_association
from helpers.fairness.audit import find_associations as find_associations
from helpers.fairness.audit import measure_imbalance as measure_imbalance
from helpers.fairness.audit import measure_odds_ratio as measure_odds_ratio
from helpers.fairness.audit import name_pairs as name_pairs
from helpers.fairness.choices import compare_choices as compare_choices
from helpers.fairness.choices import describe_gap as describe_gap
from helpers.fairness.counts import count_groups as count_groups
from helpers.fairness.counts import sum_counts as sum_counts
from helpers.fairness.counts import suppress as suppress
from helpers.fairness.group_metrics import compare_gaps as compare_gaps
from helpers.fairness.group_metrics import measure_gaps as measure_gaps
from helpers.fairness.group_metrics import measure_groups as measure_groups
from helpers.fairness.group_metrics import split_selection_gap as split_selection_gap
from helpers.fairness.selection import leave_out as leave_out
from helpers.fairness.thresholds import RandomizedThresholds as RandomizedThresholds
from helpers.fairness.thresholds import Thresholds as Thresholds
from helpers.fairness.thresholds import fit_thresholds as fit_thresholds
from helpers.fairness.weighting import compute_weights as compute_weights
from helpers.fairness.weighting import weigh_films as weigh_films
