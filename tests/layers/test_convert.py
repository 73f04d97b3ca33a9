"""Tests of the conversion of models to CoordConv and back: chosen layers, weights, real models, subclasses, errors."""

import copy
import pickle

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from timm.layers import Conv2dSame, ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from timm.layers.padding import pad_same
from torch import nn

from lightning_coordconv.layers import (
    CoordConv1d,
    CoordConv2d,
    CoordConvTranspose2d,
    FourierFeatures,
    Polar,
    coordconv_layers,
    fold_coordconv,
    from_coordconv,
    fuse_conv_bn,
    to_coordconv,
)

from .oracle import coordinates, expected

SHAPES = {1: (9,), 2: (9, 8), 3: (5, 6, 7)}
PLAIN = [nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ModuleDict({"deep": nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.ReLU())})["deep"],
        nn.ConvTranspose2d(4, 2, 2),
    )


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("with_r", [False, True])
def test_a_single_convolution(kind, with_r):
    n = int(kind.__name__[-2])
    conv = kind(4, 6, 3, stride=2, padding=1, groups=2)
    x = torch.randn(2, 4, *SHAPES[n])
    before, weight, bias = conv(x), conv.weight, conv.bias
    assert to_coordconv(conv, with_r=with_r) is conv
    assert type(conv).__name__ == "Coord" + kind.__name__
    assert conv.weight is weight
    assert conv.bias is bias
    assert conv.coord_weight.count_nonzero() == 0
    assert conv.coord_weight.numel() == (n + with_r) * 6 * 3**n
    assert torch.equal(conv(x), before)
    conv(x).square().sum().backward()
    assert conv.coord_weight.grad.abs().min() > 0
    assert from_coordconv(conv) is conv
    assert type(conv) is kind
    assert list(conv.state_dict()) == ["weight", "bias"]
    assert vars(conv).keys() == vars(kind(4, 6, 3)).keys()
    assert torch.equal(conv(x), before)


class TestWhere:
    @pytest.mark.parametrize(
        ("where", "names"),
        [
            ("first", ["0"]),
            ("all", ["0", "2.0", "3"]),
            ("2.0", ["2.0"]),
            ("2.*", ["2.0"]),
            (["0", "3"], ["0", "3"]),
            (("3", "[03]"), ["0", "3"]),
            (lambda name, module: module.kernel_size == (2, 2), ["3"]),
        ],
    )
    def test_selects(self, where, names):
        net = to_coordconv(small_net(), where)
        assert list(coordconv_layers(net)) == names
        assert all(net.get_submodule(name) is layer for name, layer in coordconv_layers(net).items())

    def test_the_default_is_first(self):
        assert list(coordconv_layers(to_coordconv(small_net()))) == ["0"]

    @pytest.mark.parametrize(
        ("where", "match"),
        [
            ("conv1", "'conv1' matches no convolution of Sequential.*convertible convolutions: '0', '2.0', '3'"),
            ("1", "'1' matches no convolution"),
            (["0", "nope*"], r"'nope\*' matches no convolution"),
            ([], r"where=\[\] selects no convolution.*'0', '2.0', '3'"),
            (lambda name, module: False, "selects no convolution.*'0', '2.0', '3'"),
        ],
    )
    def test_nothing_matched(self, where, match):
        net = small_net()
        with pytest.raises(ValueError, match=match):
            to_coordconv(net, where)
        assert not coordconv_layers(net)

    def test_no_convolution_at_all(self):
        with pytest.raises(ValueError, match="convertible convolutions: none"):
            to_coordconv(nn.Linear(2, 2), "all")

    def test_twice(self):
        net = to_coordconv(small_net())
        with pytest.raises(ValueError, match=r"where='first' selects .* CoordConv already: '0'"):
            to_coordconv(net)
        to_coordconv(net, "all")
        assert list(coordconv_layers(net)) == ["0", "2.0", "3"]
        with pytest.raises(ValueError, match=r"convertible convolutions: none; CoordConv already: '0', '2.0', '3'"):
            to_coordconv(net, "all")

    def test_a_module_used_twice(self):
        conv = nn.Conv2d(3, 3, 3)
        net = nn.Sequential(conv, nn.ReLU(), conv)
        to_coordconv(net, ["2"])
        assert net[0] is net[2] is conv
        assert list(coordconv_layers(net)) == ["0"]
        assert len(list(net.parameters())) == 3

    def test_many_names_are_cut_short(self):
        net = nn.Sequential(*(nn.Conv2d(1, 1, 1) for _ in range(40)))
        with pytest.raises(ValueError, match="'29' and 10 more"):
            to_coordconv(net, "conv")


class OwnForward(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) * 2


@pytest.mark.parametrize(
    ("conv", "kind"),
    [
        (OwnForward(3, 4, 3), "test_convert.OwnForward.*overrides forward; leave it out"),
        (nn.LazyConv2d(4, 3), "LazyConv2d.*run the model once first"),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), "ParametrizedConv2d.*convert it first"),
    ],
)
@pytest.mark.parametrize("where", ["first", "all", "0", ["1", "0"], lambda name, module: True])
def test_what_cannot_be_converted(conv, kind, where):
    """Also where it is one of many: a silent omission would be worse. Nothing is converted then."""
    net = nn.Sequential(conv, nn.Conv2d(4, 4, 1))
    with pytest.raises(ValueError, match=rf"'0' is a .*{kind}.*; convertible convolutions: '1'"):
        to_coordconv(net, where)
    assert type(net[1]) is nn.Conv2d
    to_coordconv(net, lambda name, module: type(module) is nn.Conv2d)
    assert list(coordconv_layers(net)) == ["1"]


def test_bad_options_leave_the_model_alone():
    net = small_net()
    with pytest.raises(ValueError, match="exclude each other"):
        to_coordconv(net, "all", with_r=True, encoding=Polar())
    assert not coordconv_layers(net)


def test_what_survives():
    net = small_net().double().eval()
    net[0].weight.requires_grad_(False)
    net[3].train()
    calls = []
    net[0].register_forward_hook(lambda *_: calls.append("forward"))
    net[0].custom = "attribute"
    alias = net[0]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    before = {name: (p, p.requires_grad) for name, p in net.named_parameters()}
    modes = [m.training for m in net.modules()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    to_coordconv(net, "all")
    assert net[0] is alias
    assert net[0].custom == "attribute"
    after = dict(net.named_parameters())
    assert all(after[name] is p and p.requires_grad is grad for name, (p, grad) in before.items())
    assert [m.training for m in net.modules()] == modes
    added = [name for name in net.state_dict() if name not in state]
    assert added == ["0.coord_weight", "2.0.coord_weight", "3.coord_weight"]
    assert all(after[name].dtype == torch.float64 and after[name].requires_grad for name in added)
    optimizer.add_param_group({"params": [after[name] for name in added], "weight_decay": 0.0})
    net(torch.randn(2, 3, 8, 8, dtype=torch.float64)).square().sum().backward()
    assert calls == ["forward"]
    optimizer.step()
    assert all(after[name].count_nonzero() for name in added)
    assert torch.equal(after["0.weight"], state["0.weight"])
    assert not torch.equal(after["2.0.weight"], state["2.0.weight"])


def test_old_style_weight_norm_is_converted():
    with pytest.warns(FutureWarning):
        conv = nn.utils.weight_norm(nn.Conv2d(3, 4, 3))
    x = torch.randn(1, 3, 5, 5)
    before = conv(x)
    assert torch.equal(to_coordconv(conv)(x), before)


def test_device_and_shared_weights():
    net = nn.Sequential(nn.Conv2d(3, 3, 3, device="meta"), nn.Conv2d(3, 3, 3, device="meta"))
    net[1].weight = net[0].weight
    to_coordconv(net, "all")
    assert net[0].coord_weight.is_meta
    assert net[0].weight is net[1].weight
    assert net[0].coord_weight is not net[1].coord_weight


def test_each_layer_gets_its_own_encoding():
    encoding = FourierFeatures(2)
    net = to_coordconv(nn.Sequential(nn.Conv1d(2, 2, 1), nn.Conv1d(2, 2, 1)), "all", encoding=encoding)
    assert len({id(encoding), id(net[0].encoding), id(net[1].encoding)}) == 3
    assert net[0].coord_weight.shape == (2, 5, 1)


class TestBack:
    def test_refuses_to_drop_what_was_learnt(self):
        net = to_coordconv(small_net(), "all").eval()
        nn.init.ones_(net[3].coord_weight)
        with pytest.raises(ValueError, match=r"coordinate weights of '3' are not zero; pass discard=True"):
            from_coordconv(net)
        assert list(coordconv_layers(net)) == ["0", "2.0", "3"]
        x = torch.randn(1, 3, 8, 8)
        assert torch.equal(from_coordconv(net, discard=True)(x), small_net().eval()(x))

    def test_nothing_to_do(self):
        with pytest.raises(ValueError, match="Sequential has no CoordConv layer"):
            from_coordconv(small_net())

    def test_a_users_subclass(self):
        class Mine(CoordConv2d):
            pass

        with pytest.raises(ValueError, match=r"'0' is a .*Mine, which cannot be converted back"):
            from_coordconv(nn.Sequential(Mine(1, 1, 1)))

    def test_with_an_encoding(self):
        conv = to_coordconv(nn.Conv2d(2, 2, 1), encoding=Polar())
        assert type(from_coordconv(conv)) is nn.Conv2d
        assert not list(conv.children())


def flat(out):
    """All tensors of a model's output, in order."""
    if isinstance(out, torch.Tensor):
        return [out]
    return [t for value in (out.values() if isinstance(out, dict) else out) for t in flat(value)]


def outputs(model, inputs):
    torch.manual_seed(0)
    with torch.no_grad():
        return flat(model(inputs))


IMAGE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
NO_WEIGHTS = {"weights": None, "weights_backbone": None}
SMALL = {"min_size": 64, "max_size": 96}


def tv(name, **kwargs):
    return lambda: torchvision.models.get_model(name, **kwargs)


MODELS = {
    "resnet18": (tv("resnet18"), IMAGE),
    "mobilenet_v3_small": (tv("mobilenet_v3_small"), IMAGE),
    "squeezenet1_1": (tv("squeezenet1_1"), IMAGE),
    "shufflenet_v2_x0_5": (tv("shufflenet_v2_x0_5"), IMAGE),
    "lraspp": (tv("lraspp_mobilenet_v3_large", num_classes=4, **NO_WEIGHTS), IMAGE),
    "deeplabv3": (tv("deeplabv3_mobilenet_v3_large", num_classes=4, **NO_WEIGHTS), IMAGE),
    "fasterrcnn": (tv("fasterrcnn_mobilenet_v3_large_320_fpn", num_classes=3, **SMALL, **NO_WEIGHTS), list(IMAGE)),
    "ssdlite": (tv("ssdlite320_mobilenet_v3_large", num_classes=3, **NO_WEIGHTS), list(IMAGE)),
    "timm_resnet10t": (lambda: timm.create_model("resnet10t"), IMAGE),
    "timm_efficientnet_lite0": (lambda: timm.create_model("efficientnet_lite0"), IMAGE),
    "timm_convnext_atto": (lambda: timm.create_model("convnext_atto"), IMAGE),
    "timm_vit_tiny": (lambda: timm.create_model("vit_tiny_patch16_224", img_size=64), IMAGE),
}


@pytest.mark.slow
@pytest.mark.parametrize("where", ["first", "all"])
@pytest.mark.parametrize("name", MODELS)
def test_real_models(name, where):
    make, inputs = MODELS[name]
    torch.manual_seed(0)
    model = make().eval()
    plain_state = copy.deepcopy(model.state_dict())
    before = outputs(model, inputs)
    convs = [n for n, m in model.named_modules() if isinstance(m, tuple(PLAIN))]
    to_coordconv(model, where)
    assert list(coordconv_layers(model)) == (convs if where == "all" else convs[:1])
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(model, inputs), strict=True))
    added = [key for key in model.state_dict() if key not in plain_state]
    assert added == [f"{n}.coord_weight" for n in coordconv_layers(model)]

    # a plain checkpoint loads into the converted model, and into one that was trained meanwhile
    for layer in coordconv_layers(model).values():
        nn.init.ones_(layer.coord_weight)
    model.load_state_dict(plain_state, strict=True)
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(model, inputs), strict=True))

    from_coordconv(model)
    model.load_state_dict(plain_state, strict=True)
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(model, inputs), strict=True))


def test_a_video_model_with_subclasses_that_only_set_arguments():
    model = torchvision.models.get_model("r3d_18").eval()
    video = torch.rand(1, 3, 4, 32, 32)
    before = outputs(model, video)
    to_coordconv(model, "all")
    assert len(coordconv_layers(model)) == 20
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(model, video), strict=True))


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnetv2_50x1_bit", "nf_regnet_b0"])
def test_timm_models_with_stems_of_a_subclass(name):
    """Each has a stem that pads as TensorFlow does or standardises its weight."""
    model = timm.create_model(name, num_classes=4).eval()
    stem = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    assert type(stem) is not nn.Conv2d
    before = outputs(model, IMAGE)
    to_coordconv(model)
    assert list(coordconv_layers(model).values()) == [stem]
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(model, IMAGE), strict=True))


class TestSubclasses:
    """The coordinate bias is that of an ordinary convolution, added to whatever the subclass computes."""

    KINDS = (Conv2dSame, StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame)

    @staticmethod
    def expected(layer, plain, x):
        """The subclass's output, plus a convolution of the coordinates under the subclass's padding, by definition."""
        grid = coordinates(x.shape[2:]).float()[None]
        if getattr(plain, "same_pad", isinstance(plain, Conv2dSame)):
            grid = pad_same(grid, layer.kernel_size, layer.stride, layer.dilation)
        coords = F.conv2d(grid, layer.coord_weight, None, layer.stride, layer.padding, layer.dilation)
        return plain(x) + coords

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 2, 1), (4, 1, 2), (2, 3, 1)])
    @pytest.mark.parametrize("size", [(9, 8), (40, 43)])
    def test_output_and_gradient(self, kind, kernel, stride, dilation, size):
        torch.manual_seed(0)
        plain = kind(4, 6, kernel, stride=stride, dilation=dilation, bias=True)
        nn.init.normal_(plain.bias)
        layer = to_coordconv(copy.deepcopy(plain))
        x = torch.randn(2, 4, *size)
        assert torch.equal(layer(x), plain(x))
        assert isinstance(layer, CoordConv2d)
        assert isinstance(layer, kind)
        nn.init.normal_(layer.coord_weight)
        wanted = self.expected(layer, plain, x)
        weights = torch.randn_like(wanted)
        close = {"rtol": 1e-4, "atol": 1e-4}
        torch.testing.assert_close(layer(x), wanted, **close)
        ours = torch.autograd.grad((layer(x) * weights).sum(), layer.coord_weight)[0]
        theirs = torch.autograd.grad((wanted * weights).sum(), layer.coord_weight)[0]
        torch.testing.assert_close(ours, theirs, **close)
        folded = fold_coordconv(layer, x)
        assert isinstance(folded, kind)
        torch.testing.assert_close(folded(x), wanted, **close)

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", KINDS)
    def test_compiled(self, kind):
        torch._dynamo.reset()
        layer, x = to_coordconv(kind(4, 6, 3, stride=2)), torch.randn(2, 4, 9, 8)
        nn.init.normal_(layer.coord_weight)
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), layer(x), rtol=1e-4, atol=1e-5)
        torch._dynamo.reset()

    @pytest.mark.parametrize("kind", KINDS)
    def test_back_and_copies(self, kind):
        plain, x = kind(4, 6, 3, stride=2), torch.randn(2, 4, 9, 8)
        before = plain(x)
        layer = to_coordconv(plain)
        nn.init.normal_(layer.coord_weight)
        out = layer(x)
        folded = fold_coordconv(layer, x)
        for module in (layer, folded):
            for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
                assert type(other) is type(module)
                torch.testing.assert_close(other(x), out)
        plain_state = kind(4, 6, 3, stride=2).state_dict()
        layer.load_state_dict(plain_state, strict=True)
        assert not layer.coord_weight.any()
        nn.init.normal_(layer.coord_weight)
        assert type(from_coordconv(layer, discard=True)) is kind
        layer.load_state_dict(plain_state, strict=True)
        assert layer(x).shape == before.shape

    def test_a_subclass_without_a_forward(self):
        class Padded(nn.Conv2d):
            def __init__(self, *args):
                super().__init__(*args, padding=1)

        x = torch.randn(1, 2, 6, 5)
        layer = Padded(2, 3, 3)
        before = layer(x)
        to_coordconv(layer)
        assert torch.equal(layer(x), before)
        nn.init.ones_(layer.coord_weight)
        torch.testing.assert_close(layer(x).double(), expected(layer, x), rtol=1e-4, atol=1e-5)
        assert type(from_coordconv(layer, discard=True)) is Padded

    def test_a_subclass_with_another_convolution(self):
        class Own(nn.Conv2d):
            def _conv_forward(self, input, weight, bias):
                return super()._conv_forward(input.flip(-1), weight, bias)

        with pytest.raises(ValueError, match="its class overrides _conv_forward; leave it out"):
            to_coordconv(Own(2, 3, 3))


@pytest.mark.parametrize("surgery", ["to", "from", "fold", "fuse"])
def test_a_forward_replaced_on_the_instance_is_refused(surgery):
    """As the hooks of accelerate do: the layer would go on calling the old one."""
    conv = nn.Conv2d(3, 4, 3) if surgery == "to" else CoordConv2d(3, 4, 3)
    model, x = nn.Sequential(conv).eval(), torch.randn(1, 3, 8, 8)
    old = conv.forward
    conv.forward = lambda *args: old(*args)
    with pytest.raises(ValueError, match=r"forward method of .* was replaced on the instance.*remove_hook_from_module"):
        {
            "to": lambda: to_coordconv(model, "all"),
            "from": lambda: from_coordconv(model, discard=True),
            "fold": lambda: fold_coordconv(model, x),
            "fuse": lambda: fuse_conv_bn(conv, nn.BatchNorm2d(4).eval()),
        }[surgery]()
    assert type(model[0]) is type(conv)


def test_detection_model_trains():
    torch.manual_seed(0)
    model = to_coordconv(MODELS["fasterrcnn"][0](), ["backbone.fpn.*", "rpn.*"])
    target = {"boxes": torch.tensor([[4.0, 4.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    sum(model(list(IMAGE), [target]).values()).backward()
    assert all(layer.coord_weight.grad is not None for layer in coordconv_layers(model).values())


def test_generated_layers_are_ordinary_ones():
    """A converted model and one built of CoordConv layers exchange checkpoints."""
    converted = to_coordconv(nn.Sequential(nn.Conv1d(2, 3, 1), nn.ConvTranspose2d(3, 2, 1)), "all")
    built = nn.Sequential(CoordConv1d(2, 3, 1), CoordConvTranspose2d(3, 2, 1))
    converted.load_state_dict(built.state_dict(), strict=True)
    assert all(torch.equal(a, b) for a, b in zip(converted.parameters(), built.parameters(), strict=True))
    assert repr(converted) == repr(built)


@pytest.mark.parametrize("where", [None, 5, nn.ReLU(), b"conv1"[0]])
def test_where_of_another_type_is_named(where):
    with pytest.raises(TypeError, match="where must be a name, a list of names or a predicate, but got"):
        to_coordconv(nn.Sequential(nn.Conv2d(1, 1, 1)), where)
