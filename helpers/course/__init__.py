"""Course: a classifier for class folders, trained and used as two functions or one command.

The course project that this interface comes from hands out a folder with ``train/`` and ``valid/``,
in each of them ``sain/`` and ``malade/``, and a ``metadata.csv``. Its functions keep their names
and arguments here, with English names beside the French ones, and so does its command::

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
