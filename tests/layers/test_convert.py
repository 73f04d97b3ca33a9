"""Tests of the conversion of a model to CoordConv and back: chosen layers, kept weights and hooks, refused models."""

import pytest
import torch
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


class OwnNames(nn.Conv2d):
    def __init__(self, *args):
        super().__init__(*args)
        self.encoding = "utf-8"
        self.coord_weight = nn.Parameter(torch.ones(3))


class OwnPadding(nn.Conv2d):
    same_pad = True


class OwnMethod(nn.Conv2d):
    def convolve(self, x):
        return x


@pytest.mark.parametrize(
    ("conv", "kind"),
    [
        (OwnForward(3, 4, 3), "test_convert.OwnForward.*overrides forward; leave it out"),
        (OwnNames(3, 4, 3), "test_convert.OwnNames.*it has coord_weight and encoding, .*; rename them"),
        (OwnPadding(3, 4, 3), "test_convert.OwnPadding.*it has same_pad, .*; rename them"),
        (OwnMethod(3, 4, 3), "test_convert.OwnMethod.*it has convolve, .*; rename them"),
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


def test_a_model_that_is_wrapped_for_several_processes_is_refused(monkeypatch):
    """The new parameters would not be synchronised."""
    monkeypatch.setattr(nn.parallel.DistributedDataParallel, "__init__", nn.Module.__init__)
    wrapped = nn.parallel.DistributedDataParallel()
    wrapped.module = small_net()
    for model in (wrapped, nn.ModuleList([wrapped])):
        with pytest.raises(ValueError, match="convert the model first and wrap it then"):
            to_coordconv(model, "all")
    assert not coordconv_layers(wrapped)
