"""Metrics against values by hand."""

import math

import numpy as np

from helpers.evaluation import auc, balanced_accuracy


def data(*labels):
    return {"labels": np.array(labels)}


def test_auc_counts_pairs_in_the_right_order():
    # Pairs (with, without): 3 > 1, 3 > 2, 1.5 > 1, but 1.5 < 2.
    scores = np.array([[1.0], [3.0], [2.0], [1.5]])
    assert auc(data(0, 1, 0, 1), scores) == 0.75


def test_auc_is_the_same_for_logits_and_probabilities(rng):
    logits = rng.normal(size=50)
    labels = data(*(rng.random(50) < 0.5).astype(int))
    assert auc(labels, logits) == auc(labels, 1 / (1 + np.exp(-logits)))


def test_auc_of_one_class_is_not_defined():
    assert math.isnan(auc(data(1, 1), np.array([0.1, 0.2])))


def test_balanced_accuracy_by_hand():
    # Two of three abnormal films found, one of two normal films recognized.
    logits = np.array([[2.0], [0.1], [-1.0], [-3.0], [0.5]])
    assert np.isclose(balanced_accuracy(data(1, 1, 1, 0, 0), logits), (2 / 3 + 1 / 2) / 2)


def test_the_same_answer_for_every_film_is_chance():
    assert balanced_accuracy(data(1, 1, 1, 0), np.ones(4)) == 0.5
