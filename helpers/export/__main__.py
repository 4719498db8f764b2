"""Command line of the hand-over: ``python -m helpers.export RUN_FOLDER FOLDER``."""

import argparse
import json
import sys
from pathlib import Path

import pandas as pd

from helpers.export.folder import export_model
from helpers.export.formats import import_extra


def main(arguments: list[str] | None = None) -> None:
    """Write the model folder of a run, from the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Default: those of the process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m helpers.export",
        description="Write the model folder of a run: four formats, model card, checksums.",
    )
    parser.add_argument("run", type=Path, help="folder that python -m helpers.run wrote")
    parser.add_argument("folder", type=Path, help="where the model folder goes")
    options = parser.parse_args(arguments)
    try:
        run = json.loads((options.run / "run.json").read_text(encoding="utf-8"))
        predictions = pd.read_csv(options.run / "predictions.csv")
        model = import_extra("keras").models.load_model(options.run / "model.keras", compile=False)
        fingerprint = export_model(model, options.folder, run=run, predictions=predictions)
        print(f"model folder: {options.folder}")
        print(f"its fingerprint: {fingerprint}")
    except (ValueError, OSError, ImportError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
