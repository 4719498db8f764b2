"""Explanation: what a federated network learned, and from whom."""

from helpers.explanation.contribution import bootstrap_contributions as bootstrap_contributions
from helpers.explanation.contribution import leave_one_out as leave_one_out
from helpers.explanation.contribution import list_coalitions as list_coalitions
from helpers.explanation.contribution import rebuild_coalition as rebuild_coalition
from helpers.explanation.contribution import shapley_values as shapley_values
from helpers.explanation.contribution import train_coalition as train_coalition
