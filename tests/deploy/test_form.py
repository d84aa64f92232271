import sys
import warnings

import pytest
import torch
from torch import Tensor

from segprune.deploy.form import Deployed, Form, Planes, quiet
from segprune.model.contract import SegmentationNet
from tests.toys import Residual, toy


class Wide(SegmentationNet):
    """300 classes, of which the image's first channel names one in hundredths."""

    def forward(self, image: Tensor) -> Tensor:
        chosen = (300 * image[:, :1]).round()
        return -(torch.arange(300.0).view(1, -1, 1, 1) - chosen).abs()


def test_an_example_has_two_images_only_where_their_number_is_free() -> None:
    assert Form().example((4, 6)).shape == (2, 3, 4, 6)
    assert Form(dynamic=("height", "width")).example((4, 6)).shape == (1, 3, 4, 6)


def test_class_ids_are_bytes_where_these_suffice() -> None:
    image = torch.full((1, 3, 2, 2), 299 / 300)
    found = Deployed(Wide(), "argmax")(image)
    assert (found.dtype, found.unique().tolist()) == (torch.int64, [299])
    assert Deployed(toy(Residual), "argmax")(image.repeat(1, 1, 8, 8)).dtype == torch.uint8


def test_the_network_itself_stays_as_it_is() -> None:
    net = toy(Residual).double().train()
    image = torch.rand(2, 3, 16, 16)
    found = Deployed(net, "logits")(image)
    assert (found.dtype, found.requires_grad, net.training) == (torch.float32, False, True)
    assert next(net.parameters()).dtype == torch.float64
    torch.testing.assert_close(found, toy(Residual)(image).detach())


def test_remarks_are_kept_from_the_console(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet():
        sys.stdout.write("✅ done")
        warnings.warn("of yesterday", DeprecationWarning, stacklevel=1)
    assert capsys.readouterr().out == ""


def test_class_ids_become_planes_of_which_the_largest_is_the_class() -> None:
    ids = torch.tensor([[[2, 0], [1, 1]]], dtype=torch.uint8)  # (1, 2, 2)
    found = Planes(lambda image: ids, 3)(torch.rand(1, 3, 2, 2))
    assert found.shape == (1, 3, 2, 2)
    assert torch.equal(found.argmax(1), ids.long())
    assert torch.equal(found.sum(1), torch.ones(1, 2, 2))
