import numpy as np
import paddle
import pytest
import torch

from engine.clipping import global_norm
from engine.optimization import GlobalNorm, Group, Optimizer, PaddleGlobalNorm, PerTensorNorm, Value
from engine.schedules import constant, cosine, multistep

SHAPES = {"a.weight": (4, 3), "a.bias": (4,), "b.weight": (2, 3, 3), "scale": (), "rare": (5,)}
RATES = {"first": cosine(0.02, 10), "second": multistep(0.01, [3, 6], 0.5)}
DECAYS = {"first": 0.05, "second": 0.2}
MEMBERS = {"first": ["a.weight", "scale", "rare"], "second": ["a.bias", "b.weight"]}
STEPS = 8

OPTIMIZERS = {
    "plain": ({"kind": "sgd"}, torch.optim.SGD, {}),
    "momentum": ({"kind": "sgd", "momentum": 0.9}, torch.optim.SGD, {"momentum": 0.9}),
    "nesterov": ({"kind": "sgd", "momentum": 0.9, "nesterov": True}, torch.optim.SGD,
                 {"momentum": 0.9, "nesterov": True}),
    "adam": ({"kind": "adam", "betas": (0.9, 0.98), "eps": 1e-6}, torch.optim.Adam,
             {"betas": (0.9, 0.98), "eps": 1e-6}),
    "adamw": ({"kind": "adamw"}, torch.optim.AdamW, {}),
}


def draw(seed, dtype, scale=1.0):
    rng = np.random.default_rng(seed)
    return {name: np.asarray(scale * rng.standard_normal(shape), dtype) for name, shape in SHAPES.items()}


def gradients(step, dtype):
    """The parameter 'rare' has a gradient at steps 1 and 4 only: in between it must rest."""
    found = draw(100 + step, dtype, 3.0)
    return found if step in (1, 4) else {name: value for name, value in found.items() if name != "rare"}


def paddle_parameters(dtype):
    parameters = {}
    for name, value in draw(0, dtype).items():
        parameters[name] = paddle.create_parameter(list(value.shape), dtype)
        parameters[name].set_value(value)
    return parameters


def build(parameters, clip=None, decays=DECAYS, **arguments):
    return Optimizer([Group(group, {name: parameters[name] for name in members}, RATES[group], decays[group])
                      for group, members in MEMBERS.items()], clip=clip, **arguments)


def paddle_step(optimizer, parameters, step, dtype):
    loss = sum((parameters[name] * paddle.to_tensor(value)).sum() for name, value in gradients(step, dtype).items())
    loss.backward()
    optimizer.step()
    optimizer.clear_grad()


def run_paddle(dtype, arguments, clip=None):
    parameters = paddle_parameters(dtype)
    optimizer = build(parameters, clip, **arguments)
    for step in range(STEPS):
        paddle_step(optimizer, parameters, step, dtype)
    return {name: p.numpy() for name, p in parameters.items()}, {k: v.numpy() for k, v in optimizer.slots().items()}


def run_torch(dtype, kind, arguments, clip=None):
    parameters = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in draw(0, dtype).items()}
    optimizer = kind([{"params": [parameters[name] for name in members], "lr": 1.0, "weight_decay": DECAYS[group]}
                      for group, members in MEMBERS.items()], lr=1.0, **arguments)
    for step in range(STEPS):
        for group, entry in zip(RATES, optimizer.param_groups, strict=True):
            entry["lr"] = RATES[group](step)
        for name, value in gradients(step, dtype).items():
            parameters[name].grad = torch.tensor(value)
        if clip:
            clip([p for p in parameters.values() if p.grad is not None])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    slots = {f"{slot}:{name}": value.numpy() for name, p in parameters.items()
             for slot, value in optimizer.state[p].items() if value is not None}
    return {name: p.detach().numpy() for name, p in parameters.items()}, slots


def distance(ours, wanted):
    return np.abs(ours - wanted).max() / max(np.abs(wanted).max(), 1e-30)


@pytest.mark.parametrize("case", OPTIMIZERS)
def test_float64_equals_torch(case):
    ours, kind, theirs = OPTIMIZERS[case]
    parameters, slots = run_paddle("float64", ours)
    wanted, wanted_slots = run_torch("float64", kind, theirs)
    assert max(distance(parameters[name], wanted[name]) for name in SHAPES) < 1e-12
    assert slots.keys() == wanted_slots.keys()
    assert all(distance(slots[name], wanted_slots[name]) < 1e-12 for name in slots)


@pytest.mark.parametrize("case", OPTIMIZERS)
def test_float32_equals_torch_to_rounding(case):
    ours, kind, theirs = OPTIMIZERS[case]
    parameters, slots = run_paddle("float32", ours)
    wanted, wanted_slots = run_torch("float32", kind, theirs)
    exact, _ = run_torch("float64", kind, theirs)
    for name in SHAPES:
        allowed = max(4 * distance(wanted[name].astype("float64"), exact[name]), 1e-6)
        assert distance(parameters[name], wanted[name]) <= allowed, name
    for key in wanted_slots.keys() - {f"step:{name}" for name in SHAPES}:
        factor = 1.0
        if key.startswith("exp_avg_sq"):  # Paddle's kernel takes 1 - beta2 in float32; its bias correction, too
            beta = theirs.get("betas", (0.9, 0.999))[1]
            factor = float(1 - np.float32(beta)) / (1 - beta)
        assert distance(slots[key], factor * wanted_slots[key]) < 1e-6, key


@pytest.mark.parametrize("dtype, allowed", [("float64", 1e-12), ("float32", 1e-6)])
@pytest.mark.parametrize("ours, theirs", [
    (GlobalNorm(2.0), lambda ps: torch.nn.utils.clip_grad_norm_(ps, 2.0)),
    (GlobalNorm(1e3), lambda ps: torch.nn.utils.clip_grad_norm_(ps, 1e3)),
    (Value(0.5), lambda ps: torch.nn.utils.clip_grad_value_(ps, 0.5)),
    (PerTensorNorm(2.0), lambda ps: [p.grad.mul_(min(1.0, 2.0 / float(p.grad.norm()))) for p in ps]),
    (PaddleGlobalNorm(2.0), lambda ps: paddle_formula(ps, 2.0)),
], ids=["global", "global not reached", "value", "per tensor", "paddle global"])
def test_clipping(dtype, allowed, ours, theirs):
    parameters, _ = run_paddle(dtype, {"kind": "sgd", "momentum": 0.9}, ours)
    wanted, _ = run_torch(dtype, torch.optim.SGD, {"momentum": 0.9}, theirs)
    assert max(distance(parameters[name], wanted[name]) for name in SHAPES) < allowed


def paddle_formula(parameters, limit):
    norm = torch.stack([p.grad.norm() for p in parameters]).norm()
    for p in parameters:
        p.grad.mul_(limit / torch.clamp(norm, min=limit))


@pytest.mark.parametrize("clip, theirs", [(PaddleGlobalNorm(2.0), paddle.nn.ClipGradByGlobalNorm(2.0)),
                                          (PerTensorNorm(2.0), paddle.nn.ClipGradByNorm(2.0))])
def test_clipping_equals_paddle(clip, theirs):
    parameters, twins = paddle_parameters("float32"), paddle_parameters("float32")
    for ps in (parameters, twins):
        sum((ps[name] * paddle.to_tensor(value)).sum() for name, value in gradients(1, "float32").items()).backward()
    clip(list(parameters.values()))
    for ours, (_, wanted) in zip(parameters.values(), theirs([(p, p.grad) for p in twins.values()]), strict=True):
        np.testing.assert_allclose(ours.grad.numpy(), wanted.numpy(), rtol=1e-6)


@pytest.mark.parametrize("dtype, allowed", [("float32", 1e-6), ("float64", 1e-14)])
def test_the_norm_of_a_large_gradient_is_exact_to_rounding(dtype, allowed):
    values = np.random.default_rng(0).normal(size=400_000).astype(dtype)
    parameter = paddle.create_parameter([values.size], dtype)
    (parameter * paddle.to_tensor(values)).sum().backward()
    exact = np.sqrt((values.astype("float64") ** 2).sum())
    assert abs(global_norm([parameter]).item() / exact - 1) < allowed
    PerTensorNorm(1.0)([parameter])
    assert abs(np.linalg.norm(parameter.grad.numpy().astype("float64")) - 1) < allowed


def test_the_norm_of_half_precision_does_not_overflow():
    parameter = paddle.to_tensor(np.zeros(3, "float16"), stop_gradient=False)
    parameter.grad = paddle.to_tensor(np.array([300, 400, 0], "float16"))
    assert global_norm([parameter]).item() == 500.0


def test_clipping_nothing_is_allowed():
    for clip in (GlobalNorm(1.0), PaddleGlobalNorm(1.0), PerTensorNorm(1.0), Value(1.0)):
        clip([])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", OPTIMIZERS)
def test_state_is_taken_up_exactly(case, dtype, tmp_path):
    arguments = OPTIMIZERS[case][0]
    parameters = paddle_parameters(dtype)
    optimizer = build(parameters, **arguments)
    for step in range(3):  # 'rare' has had one gradient by now
        paddle_step(optimizer, parameters, step, dtype)
    weights = {name: p.numpy() for name, p in parameters.items()}
    paddle.save(optimizer.state_dict(), str(tmp_path / "model.pdopt"))
    for step in range(3, STEPS):
        paddle_step(optimizer, parameters, step, dtype)

    again = paddle_parameters(dtype)
    for name, value in weights.items():
        again[name].set_value(value)
    resumed = build(again, **arguments)
    resumed.set_state_dict(paddle.load(str(tmp_path / "model.pdopt")))
    assert resumed.updates == 3
    for step in range(3, STEPS):
        paddle_step(resumed, again, step, dtype)
    for name in SHAPES:
        assert np.array_equal(again[name].numpy(), parameters[name].numpy()), name


def test_rates_follow_the_updates():
    parameters = paddle_parameters("float32")
    optimizer = build(parameters, kind="sgd")
    for step in range(4):
        assert optimizer.rates() == {name: rate(step) for name, rate in RATES.items()}
        paddle_step(optimizer, parameters, step, "float32")


def test_frozen_parameters_and_empty_groups():
    layer = paddle.nn.Linear(2, 2)
    layer.bias.stop_gradient = True
    optimizer = Optimizer([Group("all", layer.named_parameters(), constant(1.0)), Group("none", [], constant(1.0))])
    assert list(optimizer.parameters) == ["weight"]
    layer.weight.stop_gradient = True
    with pytest.raises(ValueError, match="no parameter to train"):
        Optimizer([Group("all", layer.parameters(), constant(1.0))])


def test_parameters_alone_are_numbered():
    layer = paddle.nn.Linear(2, 2)
    assert list(Optimizer([Group("all", layer.parameters(), constant(1.0))]).parameters) == ["all.0", "all.1"]


def test_a_parameter_twice():
    layer = paddle.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"second\.0 of group second is in the optimizer twice"):
        Optimizer([Group("first", layer.parameters(), constant(1.0)),
                   Group("second", [layer.weight], constant(1.0))])


@pytest.mark.parametrize("arguments, message", [({"kind": "rmsprop"}, "unknown optimizer 'rmsprop'; there are sgd"),
                                                ({"nesterov": True}, "needs a momentum")])
def test_impossible_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(paddle_parameters("float32"), **arguments)


@pytest.mark.parametrize("change, message", [
    (lambda s: s.pop("updates"), "'updates' is missing"),
    (lambda s: s.update({"momentum_buffer:gone": np.zeros(3, "float32")}), "momentum_buffer:gone"),
    (lambda s: s.update({"momentum_buffer:a.bias": np.zeros(3, "float32")}), r"shape \(3,\), the parameter needs"),
    (lambda s: s.update({"exp_avg:a.bias": s.pop("momentum_buffer:a.bias")}), "another kind of optimizer"),
])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_foreign_state_is_refused(change, message, dtype):
    parameters = paddle_parameters(dtype)
    optimizer = build(parameters, kind="sgd", momentum=0.9)
    paddle_step(optimizer, parameters, 0, dtype)
    state = optimizer.state_dict()
    change(state)
    with pytest.raises(ValueError, match=message):
        build(paddle_parameters(dtype), kind="sgd", momentum=0.9).set_state_dict(state)
