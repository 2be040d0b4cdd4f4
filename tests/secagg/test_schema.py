import subprocess
import sys

import numpy as np
import pytest
import torch

from secagg import flatten
from secagg.errors import ParameterError


def test_numpy_state_survives_the_round_trip_with_kind_shape_and_dtype():
    state = {
        "w": np.arange(6, dtype=np.float32).reshape(2, 3),
        "scalar": np.array(2.5, dtype=np.float64),
        "half": np.ones(3, dtype=np.float16),
        "empty": np.zeros((0, 4), dtype=np.float32),
    }
    vector, schema = flatten(state)
    assert vector.dtype == np.float32 and vector.shape == (10,) == (schema.length,)
    back = schema.restore(vector)
    assert list(back) == list(state)
    for name, array in state.items():
        assert back[name].dtype == array.dtype
        assert np.array_equal(back[name], array) and back[name].shape == array.shape


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
def test_torch_state_comes_back_as_torch(dtype):
    state = {"w": torch.arange(6, dtype=dtype).reshape(2, 3), "b": torch.tensor(1.5)}
    state["w"].requires_grad_(True)
    vector, schema = flatten(state)
    back = schema.restore(vector)
    assert back["w"].dtype == dtype and not back["w"].requires_grad
    assert torch.equal(back["w"], state["w"].detach()) and back["b"].shape == ()
    mean = schema.restore(vector.astype(np.float64) / 2)
    assert torch.equal(mean["w"], state["w"].detach() / 2)


def test_the_vector_shares_no_memory_with_the_state():
    state = {"w": torch.ones(3)}
    vector, _ = flatten(state)
    state["w"].zero_()
    assert vector.tolist() == [1, 1, 1]


def test_a_real_state_dict_needs_its_counters_skipped():
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    with pytest.raises(ParameterError, match="num_batches_tracked"):
        flatten(module.state_dict())
    vector, schema = flatten(module.state_dict(), skip=["*.num_batches_tracked"])
    module.load_state_dict(schema.restore(vector + 1))
    assert float(module[1].weight.detach()[0]) == 2.0
    assert int(module[1].num_batches_tracked) == 0


@pytest.mark.parametrize(
    "array", [np.arange(3), np.array([True]), np.array([1j]), np.array(["a"])]
)
def test_tensors_without_a_mean_are_refused(array):
    with pytest.raises(ParameterError, match="skip"):
        flatten({"x": array})


def test_nothing_to_sum_is_refused():
    with pytest.raises(ParameterError):
        flatten({"n": np.arange(3)}, skip=["n"])


def test_digest_depends_on_names_shapes_types_and_order_only():
    def digest(state):
        return flatten(state)[1].digest()

    base = {"a": np.zeros((2, 3)), "b": np.zeros(1)}
    assert digest(base) == digest({"a": np.ones((2, 3)), "b": np.ones(1)})
    others = [
        {"a": np.zeros((3, 2)), "b": np.zeros(1)},
        {"a": np.zeros(6), "b": np.zeros(1)},
        {"c": np.zeros((2, 3)), "b": np.zeros(1)},
        {"a": np.zeros((2, 3), dtype=np.float32), "b": np.zeros(1)},
        {"b": np.zeros(1), "a": np.zeros((2, 3))},
    ]
    assert len({digest(base), *map(digest, others)}) == 6


def test_restore_refuses_a_vector_of_another_length():
    vector, schema = flatten({"a": np.zeros(3)})
    with pytest.raises(ParameterError):
        schema.restore(vector[:2])


def test_importing_secagg_imports_no_framework():
    code = (
        "import sys, secagg; bad = {'torch', 'opacus', 'tenseal', 'flwr', 'sklearn', "
        "'scipy', 'matplotlib'} & set(sys.modules); sys.exit(repr(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
