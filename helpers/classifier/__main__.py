"""Command line of the classifier: ``python -m helpers.classifier``."""

import argparse
import sys

from helpers.classifier.messages import say
from helpers.classifier.prediction import check_target, predict_classifier
from helpers.classifier.training import train_classifier


def main(arguments: list[str] | None = None) -> None:
    """Train, predict, or both, from the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Default: those of the process.
    """
    options = _parse(arguments)
    settings = {name: getattr(options, name) for name in ("epochs", "image_size")}
    settings = {name: value for name, value in settings.items() if value is not None}
    try:
        if options.csv_out:
            check_target(options.csv_out)  # before hours of training
        ckpt_path = options.ckpt
        if options.train:
            ckpt_path, score = train_classifier(
                options.logdir, options.datadir, options.csv, options.weights_col, **settings
            )
            print(say("balanced accuracy on the validation films: {score:.3f}", score=score))
            print(say("checkpoint: {path}", path=ckpt_path))
        if options.csv_out:
            scores = predict_classifier(options.datadir, options.csv, options.csv_out, ckpt_path)
            for text, (n_films, score) in zip(
                (
                    "{n:,} films that the model was trained on: balanced accuracy {score:.3f}",
                    "{n:,} validation films, which chose the epoch: balanced accuracy {score:.3f}",
                    "{n:,} other films: balanced accuracy {score:.3f}",
                ),
                scores.itertuples(index=False),
                strict=True,
            ):
                if n_films:
                    print(say(text, n=n_films, score=score))
            print(say("predictions: {path}", path=options.csv_out))
    except ValueError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(say("Interrupted. The same command goes on from the last whole epoch."))


def _parse(arguments):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.classifier",
        description=say(
            "Train a classifier on class folders of chest X-rays, or predict with one."
        ),
        allow_abbrev=False,
        add_help=False,
    )
    add = parser.add_argument_group("options").add_argument
    add("-h", "--help", action="help", help=say("show this help and exit"))
    add("--logdir", help=say("folder of the runs: checkpoints and TensorBoard logs"))
    add(
        "--datadir",
        help=say(
            "folder with train/ and valid/, in each sain/ and malade/ (or NORMAL/ and PNEUMONIA/)"
        ),
    )
    add("--csv", help=say("csv of the films, usually metadata.csv"))
    add("--weights_col", help=say("its column with a weight for each film (none)"))
    add(
        "--csv_out",
        help=say(
            "where the csv goes with the columns split, probability and prediction; of existing "
            "files only an earlier one of this kind is replaced"
        ),
    )
    add(
        "--train",
        nargs="?",
        const=True,
        type=_read_bool,
        metavar="BOOL",
        help=say(
            "True trains, and predicts with --csv_out; False predicts only (default: True without "
            "--ckpt, False with it)"
        ),
    )
    add("--ckpt", help=say("model to predict with, when nothing is trained"))
    add("--epochs", type=int, help=say("passes through the training films (25)"))
    add("--image_size", type=int, help=say("height and width of the films, in pixels (64)"))
    options = parser.parse_args(arguments)
    if options.train is None:
        options.train = options.ckpt is None
    if not (options.datadir and options.csv):
        parser.error(say("--datadir and --csv are needed"))
    if options.train and options.ckpt:
        parser.error(say("--ckpt is for predicting only: leave it out, or add --train False"))
    if options.train and not options.logdir:
        parser.error(say("training needs --logdir"))
    if not options.train and not (options.ckpt and options.csv_out):
        parser.error(say("predicting needs --ckpt and --csv_out"))
    if not options.train and (options.epochs or options.image_size):
        parser.error(say("--epochs and --image_size are for training only"))
    return options


def _read_bool(text):
    """Read the course's ``True`` or ``False``."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(
            say("expected True or False, received {value!r}", value=text)
        )
    return text.lower() == "true"


if __name__ == "__main__":
    main()
