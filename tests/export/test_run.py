from importlib.metadata import version

from helpers.export import describe_run
from helpers.openers.chest_xray_opener import ChestXrayOpener


def test_a_run_is_described_with_its_films_and_the_versions_of_here(tiny_samples):
    run = describe_run(tiny_samples, name="tiny", seed=3)
    assert (run["name"], run["seed"]) == ("tiny", 3)
    assert run["versions"]["keras"] == version("keras")
    assert {name: list(splits) for name, splits in run["hospitals"].items()} == {
        name: list(splits) for name, splits in tiny_samples.items()
    }
    for hospital, splits in tiny_samples.items():
        for split, folder in splits.items():
            data = ChestXrayOpener().get_data([folder])
            counted = run["hospitals"][hospital][split]
            assert counted["films"] == len(data["labels"])
            assert counted["ill"] == data["labels"].sum()
            assert counted["patients"] == len(set(data["metadata"]["patient"].dropna()))
