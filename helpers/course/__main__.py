"""Command line of the course: ``python -m helpers.course``."""

import argparse
import sys

from helpers.course.prediction import pred_classifieur
from helpers.course.training import train_classifieur


def main(arguments: list[str] | None = None) -> None:
    """Train, predict, or both, from the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Default: those of the process.
    """
    options = _parse(arguments)
    try:
        ckpt_path = options.ckpt
        if options.train:
            ckpt_path, score = train_classifieur(
                options.logdir, options.datadir, options.csv, options.weights_col
            )
            print(f"balanced accuracy on the validation films: {score:.3f}")
            print(f"checkpoint: {ckpt_path}")
        if options.csv_out:
            pred_classifieur(options.datadir, options.csv, options.csv_out, ckpt_path)
            print(f"predictions: {options.csv_out}")
    except ValueError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Interrupted. The same command goes on from the last whole epoch.")


def _parse(arguments):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.course",
        description="Train a classifier on class folders of chest X-rays, or predict with one.",
        allow_abbrev=False,
    )
    parser.add_argument("--logdir", help="folder of the runs: checkpoints and TensorBoard logs")
    parser.add_argument(
        "--datadir",
        required=True,
        help="folder with train/ and valid/, in each sain/ and malade/ (or NORMAL/ and PNEUMONIA/)",
    )
    parser.add_argument("--csv", required=True, help="csv of the films, usually metadata.csv")
    parser.add_argument("--weights_col", help="its column with a weight for each film (none)")
    parser.add_argument(
        "--csv_out", help="where the csv goes with the columns probability and prediction"
    )
    parser.add_argument(
        "--train",
        nargs="?",
        const=True,
        type=_read_bool,
        metavar="BOOL",
        help="True trains, and predicts with --csv_out; False predicts only "
        "(default: True without --ckpt, False with it)",
    )
    parser.add_argument("--ckpt", help="model to predict with, when nothing is trained")
    options = parser.parse_args(arguments)
    if options.train is None:
        options.train = options.ckpt is None
    if options.train and options.ckpt:
        parser.error("--ckpt is for predicting only: leave it out, or add --train False")
    if options.train and not options.logdir:
        parser.error("training needs --logdir")
    if not options.train and not (options.ckpt and options.csv_out):
        parser.error("predicting needs --ckpt and --csv_out")
    return options


def _read_bool(text):
    """Read the course's ``True`` or ``False``."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected True or False, received {text!r}")
    return text.lower() == "true"


if __name__ == "__main__":
    main()
