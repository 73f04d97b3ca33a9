"""Tests of pictures of label masks: a class has one hue on objects of any colour."""

import colorsys

import numpy as np
import torch

from lightning_coordconv.core.pictures import to_picture
from lightning_coordconv.segmentation.drawing import distinct_colours, draw_masks


def test_the_legend_has_all_names_as_they_are():
    names = ["a_$x$_b", "_private", "$\\frac$"]
    mask = torch.tensor([[0, 1], [2, 2]])
    figure = draw_masks({"image": torch.rand(3, 2, 2), "mask": mask}, names, 255)
    to_picture(figure)  # would raise an error for a formula that is none
    shown = figure.legends[0].get_texts()
    assert [text.get_text().strip() for text in shown] == names
    assert not any(text.get_parse_math() for text in shown)


def test_a_class_has_the_hue_of_the_legend_on_objects_of_any_colour():
    colours = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.1], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    image, mask = colours.T.reshape(3, 2, 2), torch.tensor([[1, 1], [1, 255]])
    figure = draw_masks({"image": image, "mask": mask}, ["a", "b"], 255)
    _, painted = (np.asarray(axes.get_images()[0].get_array()) for axes in figure.axes)
    hue = colorsys.rgb_to_hsv(*distinct_colours(2)[1] / 255)[0]
    for row, column in ((0, 0), (0, 1), (1, 0)):
        assert abs(colorsys.rgb_to_hsv(*painted[row, column])[0] - hue) < 1e-3
    assert painted[1, 1].tolist() == [1, 1, 1]  # ignored, so as in the image
