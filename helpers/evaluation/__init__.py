"""Evaluation: metrics that a hospital computes on its own films, their intervals, thresholds."""

from helpers.evaluation.calibration import Calibration as Calibration
from helpers.evaluation.calibration import apply_hospitals as apply_hospitals
from helpers.evaluation.calibration import calibration_bins as calibration_bins
from helpers.evaluation.calibration import calibration_error as calibration_error
from helpers.evaluation.calibration import error_by_chance as error_by_chance
from helpers.evaluation.calibration import fit_hospitals as fit_hospitals
from helpers.evaluation.calibration import fit_platt as fit_platt
from helpers.evaluation.calibration import fit_temperature as fit_temperature
from helpers.evaluation.early_stopping import BestRound as BestRound
from helpers.evaluation.early_stopping import count_rising as count_rising
from helpers.evaluation.early_stopping import describe_rising as describe_rising
from helpers.evaluation.early_stopping import find_best_round as find_best_round
from helpers.evaluation.early_stopping import train_until_best as train_until_best
from helpers.evaluation.federated_fits import FederatedFit as FederatedFit
from helpers.evaluation.federated_fits import FederatedLevel as FederatedLevel
from helpers.evaluation.federated_fits import calibration_sums as calibration_sums
from helpers.evaluation.federated_fits import choose_federated_level as choose_federated_level
from helpers.evaluation.federated_fits import count_healthy_below as count_healthy_below
from helpers.evaluation.federated_fits import fit_federated as fit_federated
from helpers.evaluation.gains import describe_gains as describe_gains
from helpers.evaluation.gains import gain_at_home as gain_at_home
from helpers.evaluation.gains import tidy_gains as tidy_gains
from helpers.evaluation.intervals import Interval as Interval
from helpers.evaluation.intervals import bootstrap_difference as bootstrap_difference
from helpers.evaluation.intervals import bootstrap_fit as bootstrap_fit
from helpers.evaluation.intervals import bootstrap_mean as bootstrap_mean
from helpers.evaluation.intervals import bootstrap_patients as bootstrap_patients
from helpers.evaluation.intervals import compare_at_hospitals as compare_at_hospitals
from helpers.evaluation.intervals import describe_change as describe_change
from helpers.evaluation.intervals import describe_sides as describe_sides
from helpers.evaluation.intervals import interval_of as interval_of
from helpers.evaluation.intervals import resample_patients as resample_patients
from helpers.evaluation.intervals import seed_interval as seed_interval
from helpers.evaluation.intervals import side_of as side_of
from helpers.evaluation.metrics import auc as auc
from helpers.evaluation.metrics import balanced_accuracy as balanced_accuracy
from helpers.evaluation.metrics import brier_score as brier_score
from helpers.evaluation.metrics import log_loss as log_loss
from helpers.evaluation.metrics import metrics_per_finding as metrics_per_finding
from helpers.evaluation.operating_points import Rates as Rates
from helpers.evaluation.operating_points import choose_threshold as choose_threshold
from helpers.evaluation.operating_points import decide as decide
from helpers.evaluation.operating_points import rates_at_threshold as rates_at_threshold
from helpers.evaluation.operating_points import (
    sensitivity_at_specificity as sensitivity_at_specificity,
)
