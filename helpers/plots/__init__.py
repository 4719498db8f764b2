"""Plots: tables and films drawn on Matplotlib axes, with one color for each hospital."""

from helpers.plots.calibration import plot_calibration as plot_calibration
from helpers.plots.comparison import plot_exactness as plot_exactness
from helpers.plots.comparison import plot_gains as plot_gains
from helpers.plots.comparison import plot_intervals as plot_intervals
from helpers.plots.comparison import plot_transfer as plot_transfer
from helpers.plots.fairness import pareto_front as pareto_front
from helpers.plots.fairness import plot_effects as plot_effects
from helpers.plots.fairness import plot_group_pairs as plot_group_pairs
from helpers.plots.fairness import plot_groups as plot_groups
from helpers.plots.fairness import plot_odds_ratios as plot_odds_ratios
from helpers.plots.fairness import plot_trade_off as plot_trade_off
from helpers.plots.films import plot_films as plot_films
from helpers.plots.films import plot_grey_levels as plot_grey_levels
from helpers.plots.privacy import plot_privacy as plot_privacy
from helpers.plots.scores import plot_folds as plot_folds
from helpers.plots.scores import plot_hospitals as plot_hospitals
from helpers.plots.scores import plot_rounds as plot_rounds
from helpers.plots.style import hospital_colors as hospital_colors
from helpers.plots.style import make_panels as make_panels
from helpers.plots.tables import plot_association as plot_association
from helpers.plots.tables import plot_counts as plot_counts
from helpers.plots.tables import plot_label_shares as plot_label_shares
from helpers.plots.tables import plot_shares as plot_shares
from helpers.plots.timeline import plot_timeline as plot_timeline
from helpers.plots.timeline import plot_timelines as plot_timelines
from helpers.plots.weights import plot_distances as plot_distances
