"""Course: a classifier for class folders, trained and used as two functions or one command.

This interface comes from a course project, which provides a folder with ``train/`` and ``valid/``,
each with ``sain/`` and ``malade/``, and a ``metadata.csv``. Its functions and its command keep
their names and arguments here; the functions have English names, too::

    python -m helpers.course --logdir expe_log --datadir FOLDER --csv FOLDER/metadata.csv \
        --weights_col WEIGHTS --csv_out expe_log/preds.csv
    python -m helpers.course --train False --ckpt MODEL.keras --datadir FOLDER \
        --csv FOLDER/metadata.csv --csv_out expe_log/preds.csv

Reader, network and metric are those of the federated pages; the training loop is Keras' own.
"""

from helpers.course.prediction import pred_classifieur as pred_classifieur
from helpers.course.prediction import predict_classifier as predict_classifier
from helpers.course.training import train_classifier as train_classifier
from helpers.course.training import train_classifieur as train_classifieur
