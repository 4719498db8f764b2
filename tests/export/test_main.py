import json

import pytest

from helpers.export import check_folder
from helpers.export.__main__ import main


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")
def test_the_command_writes_the_model_folder_of_a_run(models, run, predictions, tmp_path, capsys):
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    models["small"].save(run_folder / "model.keras")
    predictions.to_csv(run_folder / "predictions.csv", index=False)
    (run_folder / "run.json").write_text(json.dumps(run))
    main([str(run_folder), str(tmp_path / "model")])
    told = capsys.readouterr()
    assert check_folder(tmp_path / "model") in told.out
    assert str(tmp_path / "model") in told.out
    assert "Saved artifact" not in told.out + told.err


def test_a_folder_that_is_no_run_ends_the_command_with_one_message(tmp_path):
    with pytest.raises(SystemExit, match=r"run\.json"):
        main([str(tmp_path), str(tmp_path / "model")])
