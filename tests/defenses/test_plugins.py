"""A defense from one file of a stranger's, from Python; tests/workflow runs one through the whole workflow."""

import pytest
import torch
from torch import nn

import fldrep
from fldrep import registry
from fldrep.config.defenses import defense_settings
from fldrep.defenses.client import Client
from fldrep.defenses.defended import defended_update, defense_of
from fldrep.errors import ConfigError
from fldrep.models.updates import LocalSteps, client_update

SIGN = '''
import fldrep

@fldrep.defense("sign")
class Sign(fldrep.Defense):
    """One bit an entry, times a scale."""
    class Settings(fldrep.Section):
        scale: float = fldrep.option(1.0, "factor on the signs", gt=0)
    def on_update(self, update, client):          # {name: (N, *shape)} -> the same; settings are self.settings
        return {name: value.sign() * self.settings.scale for name, value in update.items()}
'''
# Each hook leaves a mark: half the image, a gradient of twice the size, one more in the update for each call before.
HOOKS = '''
import fldrep
import torch

@fldrep.defense("hooks")
class Hooks(fldrep.Defense):
    """Every hook at once."""
    def on_model(self, model):
        model.head.register_forward_hook(lambda head, seen, logits: logits * 0.5)
    def on_batch(self, images, labels, client):
        return images / 2, labels
    def on_step(self, gradient, client):
        return {name: 2 * value for name, value in gradient.items()}
    def memory(self, model):
        return {"calls": torch.zeros(())}
    def on_update(self, update, client):
        client.memory["calls"] = client.memory["calls"] + 1
        return {name: value + client.memory["calls"] for name, value in update.items()}
'''


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "sign.py").write_text(SIGN)
    (folder / "hooks.py").write_text(HOOKS)
    assert fldrep.load_plugins([folder / "sign.py", folder / "hooks.py"]) == ["sign", "hooks"]
    yield folder
    for name in ("sign", "hooks"):
        del registry._ADDED["defense", name], registry._VALUES["defense", name]


@pytest.fixture
def case(make_network, draw_images):
    model = make_network(nn.Conv2d(3, 4, 3, 2), nn.Sigmoid(), nn.Flatten())
    return model, draw_images(2), torch.tensor([0, 3])


def test_the_lines_of_the_recipe_work_from_python(plugins, case):
    update = client_update(*case)
    sent = fldrep.defend(update, "sign", scale=2.0)
    assert all(torch.equal(sent[name], 2 * value.sign()) for name, value in update.items())
    assert torch.equal(fldrep.defend(update, "sign")["head.bias"], update["head.bias"].sign())


@pytest.mark.parametrize(
    ("given", "told"),
    [({"scale": -1.0}, "scale: -1.0: .*greater than 0"), ({"scael": 1.0}, "scael: 1.0: unknown key; .* takes scale")],
)
def test_wrong_settings_are_refused_by_key(plugins, case, given, told):
    with pytest.raises(ConfigError, match=told) as refused:
        fldrep.defend(client_update(*case), "sign", **given)
    assert "\n" not in str(refused.value)


def test_a_taken_name_is_refused_and_the_same_content_is_not(plugins, tmp_path):
    (tmp_path / "copy.py").write_text(f"# a comment more\n{SIGN}")
    assert fldrep.load_plugins(tmp_path / "copy.py") == ["sign"]
    (tmp_path / "other.py").write_text(SIGN.replace("* self.settings.scale", "/ self.settings.scale"))
    with pytest.raises(ConfigError, match=r"other\.py: defense 'sign' is taken, by .*sign\.py"):
        fldrep.load_plugins(tmp_path / "other.py")
    (tmp_path / "none.py").write_text(SIGN.replace('"sign"', '"none"'))
    with pytest.raises(ConfigError, match=r"defense 'none' is taken, by .*defenses/none\.py"):
        fldrep.load_plugins(tmp_path / "none.py")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def (", "cannot be read as Python"),
        ("raise RuntimeError('no\\nway')", "RuntimeError: no way"),
        ("import torch.no_such_module", "ModuleNotFoundError"),
        (b"\xff\xfe", "cannot be read as Python"),
    ],
)
def test_a_file_that_does_not_run_is_told_in_one_line_and_adds_nothing(tmp_path, text, told):
    path = tmp_path / "broken.py"
    path.write_bytes(text if isinstance(text, bytes) else f"{SIGN.replace('sign', 'broken')}\n{text}\n".encode())
    with pytest.raises(ConfigError, match=rf"plugins: .*broken\.py: {told}") as refused:
        fldrep.load_plugins(path)
    assert "\n" not in str(refused.value)
    assert "broken" not in registry.entries("defense")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.py"):
        fldrep.load_plugins(tmp_path / "absent.py")


def test_every_hook_runs_before_an_attack(plugins, case):
    model, images, labels = case
    before = {name: value.clone() for name, value in model.state_dict().items()}
    client = Client(model, images[:1], labels[:1])
    client.memory["calls"] = torch.tensor(2.0)
    sent = defended_update(defense_of(defense_settings("hooks")), client)
    loss = nn.functional.cross_entropy(0.5 * model(images[:1] / 2), labels[:1])
    for (name, _), value in zip(
        model.named_parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True
    ):
        torch.testing.assert_close(sent[name][0], 2 * value + 3)
    assert not model.head._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_every_hook_runs_at_each_local_step(plugins, case):
    model, images, labels = case
    client = Client(model, images, labels, memory={"calls": torch.tensor(0.0)})
    sent = defended_update(defense_of(defense_settings("hooks")), client, LocalSteps(2, 1, 0.1))
    weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    start = {name: value.clone() for name, value in weights.items()}
    for step in (0, 1, 0, 1):
        own = {name: value.requires_grad_() for name, value in weights.items()}
        logits = 0.5 * torch.func.functional_call(model, own, (images[step : step + 1] / 2,))
        loss = nn.functional.cross_entropy(logits, labels[step : step + 1])
        gradient = torch.autograd.grad(loss, list(own.values()))
        weights = {name: (own[name] - 0.1 * 2 * g).detach() for name, g in zip(own, gradient, strict=True)}
    for name, value in sent.items():
        torch.testing.assert_close(value[0], (start[name] - weights[name]) / 0.1 + 1)


def test_before_an_attack_a_client_without_memory_has_what_is_kept_at_first_and_keeps_nothing(plugins, case):
    model, images, labels = case
    defense = defense_of(defense_settings("hooks"))
    for local in (None, LocalSteps(1, 1, 0.1)):
        client = Client(model, images[:1], labels[:1])
        first = defended_update(defense, client, local)
        assert client.memory == {}
        client.memory = {"calls": torch.tensor(0.0)}
        for name, value in defended_update(defense, client, local).items():
            torch.testing.assert_close(value, first[name])
        assert client.memory == {"calls": torch.tensor(0.0)}


def test_from_python_a_memory_needs_the_model(plugins, case):
    update = client_update(*case)
    with pytest.raises(ConfigError, match="defense 'hooks' needs model, which was not given"):
        fldrep.defend(update, "hooks")
    model, images, labels = case
    sent = fldrep.defend(update, "hooks", model=model, images=images, labels=labels)
    assert sent.keys() == update.keys()


def none(self, *given):
    return None


@pytest.mark.parametrize(
    ("hook", "gives", "told"),
    [
        ("on_update", none, "on_update returns: None: expected a dict of tensors by name, as it was given"),
        ("on_step", none, "on_step returns: None: expected a dict of tensors by name, as it was given"),
        ("on_batch", none, "on_batch returns: None: expected images and as many labels, two tensors"),
        ("on_batch", lambda self, images, labels, client: images, "on_batch returns: shape"),
        (
            "on_batch",
            lambda self, images, labels, client: (images, labels[:0]),
            "on_batch returns: a tuple of 2 tensors",
        ),
        ("memory", none, "memory returns: None: expected a dict of tensors by name"),
        ("memory", lambda self, model: {"calls": 0}, r"memory returns: \{'calls': 0\}: expected a dict of tensors"),
        (
            "on_update",
            lambda self, update, client: {name: value.mean() for name, value in update.items()},
            r"on_update returns\['.*'\]: shape \(\), .*: expected a tensor of shape \(1, ",
        ),
        (
            "on_step",
            lambda self, gradient, client: {name: value[None] for name, value in gradient.items()},
            r"on_step returns\['.*'\]: shape \(1, .*: expected a tensor of shape \(",
        ),
        (
            "on_update",
            lambda self, update, client: {**update, "more": torch.zeros(1)},
            r"on_update returns\['more'\]: shape \(1,\).*: expected the names it was given",
        ),
        (
            "on_update",
            lambda self, update, client: {name: value for name, value in update.items() if name != "head.bias"},
            r"on_update returns\['head.bias'\]: None: expected the names it was given",
        ),
    ],
)
def test_what_a_hook_returns_is_checked(case, hook, gives, told):
    model, images, labels = case
    wrong = type("Wrong", (fldrep.Defense,), {hook: gives})(defense_settings("none"))
    with pytest.raises(ConfigError, match=f"defense 'none': what {told}") as refused:
        defended_update(wrong, Client(model, images[:1], labels[:1]))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"on_updates": none}, "Wrong.on_updates: no hook; the hooks are on_batch, on_model, on_network, "),
        ({"zeros": "heads"}, "Wrong.zeros: 'heads': expected 'none', 'head' or 'all'"),
        ({"noise": "normal"}, "Wrong.noise: 'normal': expected 'none', 'gaussian' or 'laplace'"),
        ({"noise": "gaussian"}, "Wrong.Settings: noise 'gaussian' needs a setting std"),
        ({"Settings": type("Settings", (), {})}, "Wrong.Settings: expected a class of fldrep.Section"),
    ],
)
def test_a_class_that_does_not_mean_what_it_says_is_refused(words, told):
    with pytest.raises(ConfigError, match=told):
        type("Wrong", (fldrep.Defense,), words)


@pytest.mark.parametrize(
    ("decorated", "told"),
    [
        ('@fldrep.defense("bare")\nclass Bare: pass', "defense 'bare': Bare: expected a class of fldrep.Defense"),
        (
            '@fldrep.defense("bare")\nclass Bare:\n  def on_update(self, update, client): return update',
            "defense 'bare': Bare: expected a class of fldrep.Defense",
        ),
        ('@fldrep.defense("bare")\ndef bare(): pass', "defense 'bare': bare: expected a class of fldrep.Defense"),
        ('@fldrep.optimiser("bare")\nclass Bare: pass', "optimiser 'bare': Bare: expected a class with a method solve"),
        ('@fldrep.metric("bare")\nclass Bare: pass', "metric 'bare': Bare: expected a function"),
        ("@fldrep.defense\nclass Bare(fldrep.Defense): pass", r"@defense needs a name: @defense\(\"some-name\"\)"),
        ('@fldrep.defense("A b")\nclass Bare(fldrep.Defense): pass', "defense 'A b': expected lower-case words"),
    ],
)
def test_what_is_no_entry_of_its_kind_is_refused_where_it_is_registered(plug_in, decorated, told):
    with pytest.raises(ConfigError, match=f"plugins: .*: {told}") as refused:
        plug_in(f"import fldrep\n{decorated}\n")
    assert "\n" not in str(refused.value)
