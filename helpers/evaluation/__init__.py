"""Evaluation: metrics that a hospital computes on its own films."""

from helpers.evaluation.metrics import auc as auc
from helpers.evaluation.metrics import balanced_accuracy as balanced_accuracy
