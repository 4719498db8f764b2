import numpy as np
import pytest
from substrafl.algorithms.tensorflow import weight_manager

CASES = [("linear", False), ("linear", True), ("batch_norm", False), ("batch_norm", True)]


def test_parameters_come_in_the_order_of_the_model(models):
    model = models["linear"]()
    model.set_weights([np.float32([[1], [2], [3]]), np.float32([0.5])])
    variables = weight_manager.exchanged_variables(model)
    kernel, bias = weight_manager.get_parameters(variables).values()
    np.testing.assert_array_equal(kernel, np.float32([[1], [2], [3]]))
    np.testing.assert_array_equal(bias, np.float32([0.5]))


def test_statistics_of_batch_norm_come_last_and_by_choice(models):
    model = models["batch_norm"]()
    assert len(weight_manager.exchanged_variables(model)) == 6
    variables = weight_manager.exchanged_variables(model, with_batch_norm_parameters=True)
    values = list(weight_manager.get_parameters(variables).values())
    assert len(values) == 8
    np.testing.assert_array_equal(values[-2], np.zeros(2))  # moving mean
    np.testing.assert_array_equal(values[-1], np.ones(2))  # moving variance


def test_names_do_not_depend_on_how_many_models_were_built_before(models):
    first, second = models["batch_norm"](), models["batch_norm"]()
    named = {model.name: name for name, model in (("first", first), ("second", second))}
    assert len(named) == 2
    names = [list(weight_manager.exchanged_variables(model)) for model in (first, second)]
    assert names[0] == names[1]


@pytest.mark.parametrize(("name", "with_batch_norm_parameters"), CASES)
def test_what_is_set_is_what_one_gets(models, name, with_batch_norm_parameters):
    rng = np.random.default_rng(0)
    variables = weight_manager.exchanged_variables(models[name](), with_batch_norm_parameters)
    drawn = {
        key: rng.normal(size=value.shape).astype(value.dtype)
        for key, value in weight_manager.get_parameters(variables).items()
    }
    weight_manager.set_parameters(variables, drawn)
    received = weight_manager.get_parameters(variables)
    assert list(received) == list(drawn)
    for key, value in drawn.items():
        np.testing.assert_array_equal(received[key], value)


@pytest.mark.parametrize(("name", "with_batch_norm_parameters"), CASES)
def test_parameters_minus_themselves_are_zero(models, name, with_batch_norm_parameters):
    variables = weight_manager.exchanged_variables(models[name](), with_batch_norm_parameters)
    parameters = weight_manager.get_parameters(variables)
    for value in weight_manager.subtract_parameters(parameters, parameters).values():
        np.testing.assert_array_equal(value, np.zeros_like(value))


@pytest.mark.parametrize(("name", "with_batch_norm_parameters"), CASES)
def test_a_model_incremented_by_its_own_parameters_is_doubled(
    models, name, with_batch_norm_parameters
):
    variables = weight_manager.exchanged_variables(models[name](), with_batch_norm_parameters)
    before = weight_manager.get_parameters(variables)
    weight_manager.increment_parameters(variables, before)
    after = weight_manager.get_parameters(variables)
    for key, value in before.items():
        np.testing.assert_array_equal(after[key], 2 * value)


def test_weighted_sum_by_hand():
    sets = [{"w": np.float32([1, 2])}, {"w": np.float32([3, 6])}]
    summed = weight_manager.weighted_sum_parameters(sets, [0.75, 0.25])
    np.testing.assert_array_equal(summed["w"], np.float32([1.5, 3.0]))
    assert summed["w"].dtype == np.float32


def test_parameters_that_do_not_fit_leave_the_model_as_it_was(models):
    variables = weight_manager.exchanged_variables(models["linear"]())
    before = weight_manager.get_parameters(variables)
    wrong = {key: np.zeros((1, 1), np.float32) for key in before}
    with pytest.raises(ValueError, match="expected shape"):
        weight_manager.set_parameters(variables, wrong)
    for key, value in weight_manager.get_parameters(variables).items():
        np.testing.assert_array_equal(value, before[key])
