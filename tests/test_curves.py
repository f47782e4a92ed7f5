"""The picture of a run."""

import pytest

from xcloudmask.errors import ReadError
from xcloudmask.training.curves import save_curves
from xcloudmask.training.history import append_row

image_module = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")


@pytest.mark.parametrize(("rows", "measured"), [(1, False), (12, True)])
def test_a_picture_of_any_run(tmp_path, rows, measured):
    for step in range(1, rows + 1):
        extra = {"holdout_cloud_ba": 0.8} if measured and step % 5 == 0 else {}
        append_row(tmp_path, {"step": 50 * step, "seconds": 1.0, "loss": 1 / step, "learning_rate": 1e-3} | extra)
    path = save_curves(tmp_path)
    assert path == tmp_path / "curves.png"
    with image_module.open(path) as picture:
        assert picture.size[0] > 600


def test_no_history_says_what_is_missing(tmp_path):
    with pytest.raises(ReadError, match="--out"):
        save_curves(tmp_path)
    (tmp_path / "history.csv").write_text("step,seconds,loss,learning_rate\n")
    with pytest.raises(ReadError, match="no row yet"):
        save_curves(tmp_path)
