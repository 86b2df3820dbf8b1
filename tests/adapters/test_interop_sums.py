"""Several slots become one PEFT adapter with the same outputs."""

import json
from pathlib import Path

import pytest
import torch
from tiny_networks import add_slot, assert_near, mlp, outputs, tiny
from torch import Tensor, nn

from plora.adapters import Adapters, Route, SlotShape, apply_lora, load_lora, merge_lora, save_lora, save_route
from plora.errors import AdapterError

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def with_slots(kind: str, targets: str) -> tuple[nn.Module, Adapters]:
    """A tiny network with the slots a, b (committed) and c (open), of ranks 1, 2 and 3."""
    network = tiny(kind).double()  # nothing hides behind rounding
    adapters = Adapters.inject(network, targets)
    for name, rank in (("a", 1), ("b", 2), ("c", 3)):
        add_slot(adapters, name, rank, commit=name != "c")
    return network, adapters


@torch.no_grad()
def peft_outputs(kind: str, folder: Path) -> Tensor:
    model = peft.PeftModel.from_pretrained(tiny(kind).double(), folder)
    return outputs(model.eval().get_base_model())


KINDS = [
    ("bert", "attention"),
    ("bert", "all_linear"),
    ("modernbert", "attention:qv"),
    ("modernbert", "attention"),
    ("gpt2", "attention:qkv"),
    ("gpt2", "all_linear"),
    ("t5", "attention"),
]
ROUTES = {
    "one": lambda layers: Route(("b",)),
    "sum": lambda layers: Route(("a", "b", "c")),
    "some, in another order": lambda layers: Route(("c", "a")),
    "gated": lambda layers: Route(("a", "c"), torch.tensor([0.5, -1.75])),
    "one gated": lambda layers: Route(("b",), torch.tensor([0.3])),
    "gated per layer": lambda layers: Route(
        ("a", "b"), torch.randn(layers, 2, generator=torch.Generator().manual_seed(3)), "layer"
    ),
}


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
@pytest.mark.parametrize(("kind", "targets"), KINDS)
def test_peft_gives_the_outputs_of_the_slots_in_use(kind: str, targets: str, route, tmp_path: Path) -> None:
    network, adapters = with_slots(kind, targets)
    adapters.use(route(len(adapters.layers)))
    wanted = outputs(network)
    save_lora(network, tmp_path)
    assert_near(peft_outputs(kind, tmp_path), wanted, 1e-9)
    assert not torch.allclose(wanted, outputs(tiny(kind).double()), atol=1e-3)

    back = apply_lora(tiny(kind), rank=1, targets=targets)  # and home again, in fp32, as one slot
    load_lora(back, tmp_path)
    assert_near(outputs(back.double()), wanted, 1e-5)
    assert_near(outputs(merge_lora(back)), wanted, 1e-5)


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_logits_in_single_precision(route, tmp_path: Path) -> None:
    network = tiny("bert")
    adapters = Adapters.inject(network, "attention")
    for name in ("a", "b", "c"):
        add_slot(adapters, name)
    adapters.use(route(len(adapters.layers)))
    save_lora(network, tmp_path)
    theirs = peft.PeftModel.from_pretrained(tiny("bert"), tmp_path).eval().get_base_model()
    assert_near(outputs(theirs), outputs(network), 1e-6)


def test_ranks_add_up_and_the_adapter_says_what_it_is(tmp_path: Path) -> None:
    _, adapters = with_slots("modernbert", "attention")
    save_route(adapters, Route(("a", "b", "c")), tmp_path, base_model="someone/some-model")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "someone/some-model"
    assert sorted({config["r"], *config["rank_pattern"].values()}) == [6, 3 * 6]  # Wo; q, k and v of Wqkv
    assert config["lora_alpha"] / config["r"] == adapters["a"].shapes["layers.0.attn.Wo"].scale  # the rest is in B


def test_a_single_slot_keeps_its_bits_whichever_way_it_is_named(tmp_path: Path) -> None:
    network, adapters = with_slots("gpt2", "attention:qv")
    adapters.use("b")
    save_lora(network, tmp_path / "in use")
    save_lora(network, tmp_path / "by name", "b")
    for folder in ("in use", "by name"):
        slot = load_lora(network, tmp_path / folder, folder)
        assert slot.content_hash() == adapters["b"].content_hash()


def test_patterns_name_one_layer_and_no_other(tmp_path: Path) -> None:
    """PEFT's patterns match the ends of paths: `a` alone would be read for `inner.a` too."""

    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.a = nn.ModuleDict({"a": nn.Linear(6, 6)}), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(self.inner["a"](x))

    def make() -> nn.Module:
        torch.manual_seed(0)
        return Nested()

    network, x = make(), torch.randn(3, 6)
    adapters = Adapters.inject(network, ["a"])
    generator = torch.Generator().manual_seed(1)
    adapters.append(
        "s",
        {
            path: (
                SlotShape(r, 0.5 * r),
                torch.randn(r, 6, generator=generator),
                torch.randn(6, r, generator=generator),
            )
            for path, r in (("inner.a", 3), ("a", 2))
        },
    )
    adapters.use("s")
    save_lora(network, tmp_path)
    theirs = peft.PeftModel.from_pretrained(make(), tmp_path)
    torch.testing.assert_close(theirs(x), network(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("route", "says"),
    [
        (lambda: Route(("a",), torch.ones(3, 1), "sample"), "per sample have no single adapter; use fixed"),
        (lambda: Route(("a",), torch.ones(3, 7, 1), "token"), "per token have no single adapter; use fixed"),
        (lambda: Route(("a",), mixing={"0": torch.eye(2)}), r"per rank \(mixing\) have no single adapter"),
        (lambda: Route(), "no slot takes part"),
        (lambda: Route(("a",), folded=True), r"are folded; call unfold\(\)"),
    ],
)
def test_what_no_single_adapter_can_do_is_refused(route, says: str, tmp_path: Path) -> None:
    network = apply_lora(mlp(), rank=2, targets="all_linear", name="a")
    Adapters.of(network).use(route())
    with pytest.raises(AdapterError, match=says):
        save_lora(network, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
