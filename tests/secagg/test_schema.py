import subprocess
import sys

import numpy as np
import pytest
import torch

from secagg import flatten, plan, run_round
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


class OnDevice:
    """A tensor in another memory: only ``cpu()`` brings its values to numpy."""

    def __init__(self, values, here=False):
        self.values, self.here = values, here
        self.dtype, self.shape = "torch.float32", values.shape

    def is_floating_point(self):
        return True

    def detach(self):
        return self

    clone = float = detach

    def cpu(self):
        return OnDevice(self.values, here=True)

    def numpy(self):
        if not self.here:
            raise TypeError("can't convert a device tensor to numpy")
        return self.values

    def new_empty(self, size):
        return OnDevice(self.values[:0])

    def new_tensor(self, values):
        return OnDevice(values)


def test_tensors_on_a_device_come_back_to_it():
    values = np.arange(4, dtype=np.float32).reshape(2, 2)
    vector, schema = flatten({"w": OnDevice(values)})
    back = schema.restore(vector)["w"]
    assert isinstance(back, OnDevice) and not back.here
    assert np.array_equal(back.values, values)


def test_torch_and_numpy_side_by_side_come_back_as_they_were():
    state = {
        "half": torch.ones(2, 3, dtype=torch.bfloat16),
        "wide": np.full((2, 1), 1 / 3),
        "steps": torch.tensor(7),
        "empty": torch.zeros(0, 2),
    }
    vector, schema = flatten(state, skip=["st*"])
    back = schema.restore(vector)
    assert list(back) == list(state)
    assert back["half"].dtype == torch.bfloat16 and back["half"].shape == (2, 3)
    assert back["wide"].dtype == np.float64 and back["wide"].shape == (2, 1)
    assert np.abs(back["wide"] - state["wide"]).max() < 2.0**-25  # through float32
    assert back["empty"].shape == (0, 2) and int(back["steps"]) == 7


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(3).to_sparse(),
        torch.empty(3, device="meta"),
    ],
    ids=["sparse", "meta"],
)
def test_tensors_that_are_not_dense_are_refused_by_name(tensor):
    with pytest.raises(ParameterError, match="'odd'"):
        flatten({"odd": tensor})


def test_a_single_pattern_in_place_of_a_list_is_refused():
    # Its star alone would skip everything.
    with pytest.raises(ParameterError, match=r"pass \['\*\.steps'\]"):
        flatten({"a": np.zeros(3)}, skip="*.steps")


@pytest.mark.parametrize("vector", [[0.0, 1.0, 2.0], np.arange(3), None])
def test_restore_refuses_what_is_no_floating_array(vector):
    _, schema = flatten({"a": np.zeros(3)})
    with pytest.raises(ParameterError, match="floating numpy array"):
        schema.restore(vector)


def test_a_mean_of_a_round_restores_to_a_state():
    states = {
        f"c{i}": {"w": np.full((2, 2), float(i), np.float16), "n": np.int64(i)}
        for i in range(4)
    }
    flat = {name: flatten(state, skip=["n"]) for name, state in states.items()}
    out = run_round(plan(4, 1, 1), {name: vector for name, (vector, _) in flat.items()})
    mean = flat["c0"][1].restore(out.mean)
    assert mean["w"].dtype == np.float16 and mean["w"].shape == (2, 2)
    assert np.abs(mean["w"] - 1.5).max() < 2.0**-9 and mean["n"] == 0


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


def test_floats_longer_than_64_bits_are_refused():
    long = np.zeros(2, np.longdouble)
    if long.dtype.itemsize == 8:
        pytest.skip("this platform has no longer float")
    with pytest.raises(ParameterError, match="skip"):
        flatten({"a": long})
