"""Classifier: trained on class folders at one hospital, as two functions or one command.

A folder has ``train/`` and ``valid/``, each with ``sain/`` and ``malade/``, and a ``metadata.csv``.
This interface comes from a course, whose French names remain as aliases; with ``LANG=fr_FR.UTF-8``
the command answers in French::

    python -m helpers.classifier --logdir expe_log --datadir FOLDER --csv FOLDER/metadata.csv \
        --weights_col WEIGHTS --csv_out expe_log/preds.csv
    python -m helpers.classifier --train False --ckpt MODEL.keras --datadir FOLDER \
        --csv FOLDER/metadata.csv --csv_out expe_log/preds.csv

Reader, network and metric are those of the federated pages; the training loop is Keras' own.
"""

from helpers.classifier.prediction import pred_classifieur as pred_classifieur
from helpers.classifier.prediction import predict_classifier as predict_classifier
from helpers.classifier.training import train_classifier as train_classifier
from helpers.classifier.training import train_classifieur as train_classifieur
