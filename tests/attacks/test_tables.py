"""Scores of reconstructed rows: fields, whole rows, and the commonest row."""

import pytest
import torch

from attacks import Field, RowScore, ScoringError, commonest_row, score_rows

AGE = Field(name="age", columns=(0,), numeric=True)
PAIN = Field(name="pain", columns=(1, 2, 3), numeric=False)
MISSING = Field(name="age missing", columns=(4,), numeric=False)
FIELDS = (AGE, PAIN, MISSING)
TRUTH = torch.tensor([[1.0, 1.0, 0.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 1.0, 1.0]])
SPREAD = torch.full((5,), 10.0)


def _score(rows: torch.Tensor) -> RowScore:
    return score_rows(rows, TRUTH, FIELDS, spread=SPREAD)


def test_the_truth_in_any_order_is_all_right() -> None:
    assert _score(TRUTH.flip(0)) == RowScore(numeric=1.0, categorical=1.0, rows=1.0)


def test_a_number_is_right_within_a_hundredth_of_its_range() -> None:
    near, far = TRUTH.clone(), TRUTH.clone()
    near[0, 0] += 0.099
    far[0, 0] += 0.101
    assert _score(near).rows == 1.0
    assert _score(far) == RowScore(numeric=0.5, categorical=1.0, rows=0.5)


def test_a_category_is_its_largest_entry_above_one_half() -> None:
    guess = TRUTH.clone()
    guess[0, 1:4] = torch.tensor([0.6, 0.55, 0.3])
    assert _score(guess).categorical == 1.0
    guess[0, 1:4] = torch.tensor([0.4, 0.3, 0.3])  # no category, and it has one
    assert _score(guess).categorical == 0.75
    guess[0, 1:4] = torch.tensor([0.6, 0.7, 0.3])
    assert _score(guess).categorical == 0.75


def test_rows_without_a_candidate_are_wrong_and_broken_ones_are_none() -> None:
    broken = TRUTH.clone()
    broken[1, 2] = torch.nan
    wanted = RowScore(numeric=0.5, categorical=0.5, rows=0.5)
    assert _score(broken) == wanted
    assert _score(TRUTH[:1]) == wanted
    assert _score(torch.zeros((0, 5))).rows == 0.0


def test_the_commonest_row_is_of_medians_and_modes() -> None:
    rows = torch.tensor(
        [
            [3.0, 0.0, 1.0, 0.0, 0.0],
            [1.0, 0.0, 1.0, 0.0, 0.0],
            [2.0, 0.0, 0.0, 1.0, 1.0],
        ]
    )
    row = commonest_row(rows, FIELDS)
    assert row.tolist() == [2.0, 0.0, 1.0, 0.0, 0.0]


def test_fields_of_one_kind_leave_the_other_open() -> None:
    found = score_rows(TRUTH, TRUTH, (AGE,), spread=SPREAD)
    assert found == RowScore(numeric=1.0, categorical=None, rows=1.0)


@pytest.mark.parametrize(
    ("fields", "spread"),
    [
        ((), SPREAD),
        ((AGE, Field(name="again", columns=(0,), numeric=True)), SPREAD),
        ((Field(name="beyond", columns=(5,), numeric=True),), SPREAD),
        (FIELDS, SPREAD[:2]),
    ],
)
def test_what_does_not_fit_is_refused(
    fields: tuple[Field, ...], spread: torch.Tensor
) -> None:
    with pytest.raises(ScoringError):
        score_rows(TRUTH, TRUTH, fields, spread=spread)


def test_a_number_of_two_columns_is_refused() -> None:
    with pytest.raises(ScoringError, match="one for a number"):
        Field(name="age", columns=(0, 1), numeric=True)
