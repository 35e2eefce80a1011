"""One update audited: whatever form it comes in, the verdict, and what result.json and the page say."""

import json
import re

import numpy as np
import pytest
import torch
from torch import nn

import fldrep
from fldrep.applications.audit import work
from fldrep.applications.audit.case import case_of
from fldrep.applications.audit.evidence import evidence_of
from fldrep.applications.audit.pictures import originals_of
from fldrep.applications.audit.plan import plan_of
from fldrep.applications.audit.result import picture_of
from fldrep.config.attacks import attack_settings
from fldrep.config.threat import PASSIVE, threat_of
from fldrep.errors import ConfigError
from fldrep.models.normalisation import Normalisation

SHAPE = (1, 12, 12)
CONSTANTS = Normalisation((0.4,), (0.3,))
KEYS = {
    *("schema_version", "verdict", "sentence", "update", "identifiability", "labels", "attacks", "counterfactual"),
    *("threat_model", "not_tried", "settings", "versions"),
}
VERDICTS = ("recovered-exactly", "recovered", "identifiable-not-recovered", "not-identifiable", "nothing-to-attack")


class Residual(nn.Module):
    """ReLUs, batch norm and a skip connection: no chain, and a gradient that jumps."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 6, 3, padding=1, stride=2), nn.BatchNorm2d(6)
        self.mix, self.fc = nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6 * 36, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        return self.fc((x + torch.relu(self.mix(x))).flatten(1))


def sent(network, pixels, labels, **local) -> dict[str, torch.Tensor]:
    """What one client would send of all these images: {name: (*shape)}."""
    model = fldrep.wrap(network, SHAPE).eval()
    images, labels = CONSTANTS.to_input(pixels)[None], torch.tensor(labels)[None]
    return {name: value[0] for name, value in fldrep.client_update(model, images, labels, **local).items()}


def audited(network, update, **given):
    return fldrep.audit(network, update, **{"shape": SHAPE, "normalisation": CONSTANTS, "budget": 4.0, **given})


@pytest.fixture
def one(network, pixels):
    """A network, its update of one image, and the image."""
    made = network()
    return made, sent(made, pixels[:1], [3]), pixels[:1]


def test_an_undefended_update_is_recovered_and_proves_it(one, tmp_path):
    found = audited(*one[:2])
    said = found.to_dict()
    assert found.verdict == said["verdict"] == "recovered-exactly"
    assert said.keys() >= KEYS
    assert said["labels"] == [3]
    assert said["identifiability"]["rank"] == said["identifiability"]["unknowns"] == 144
    assert said["identifiability"]["method"] == "exact"
    assert said["identifiability"]["floor"] < 1e-6
    assert said["attacks"][0]["attack"] == "closed-form"
    assert said["attacks"][0]["certified"]
    assert said["settings"]["operations_per_second"] > 0
    assert all(one["what"] and one["why"] for one in said["not_tried"])
    written = {path.name for path in found.save(tmp_path / "new")}
    assert written == {path.name for path in (tmp_path / "new").iterdir()} >= {"result.json", "closed-form-1.png"}
    assert json.loads((tmp_path / "new/result.json").read_text()) == said
    apart = CONSTANTS.to_input(found.pictures["closed-form-1"]) - CONSTANTS.to_input(one[2])[0]
    assert apart.abs().max() < 1e-3


def test_the_page_begins_with_the_verdict_and_asks_the_network_for_nothing(one, tmp_path):
    found = audited(*one[:2], originals=one[2])
    found.save(tmp_path)
    page = (tmp_path / "audit.html").read_text()
    heads = (found.sentence, "What the update alone", "What each attack", "What would change")
    places = [page.index(words) for words in heads]
    assert places == sorted(places)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert page.index(found.sentence) < page.index("<h2>")


def test_the_same_call_gives_the_same_json_but_for_seconds(one):
    def said():
        text = audited(*one[:2], originals=one[2]).text()
        return re.sub(r'"seconds": [\d.]+', "", text)

    assert said() == said()


def test_counterfactuals_say_what_would_hide_the_image(one):
    changes = audited(*one[:2], originals=one[2], budget=20.0).to_dict()["counterfactual"]
    by_floor = [one for one in changes if one["by"] == "identifiability"]
    noise = next(one for one in by_floor if one["change"] == "Gaussian noise added")
    assert noise["hides"]
    assert noise["floor"] == pytest.approx(0.1, rel=0.1)
    loud = {name: value + noise["strength"] * 4 * torch.randn(value.shape) for name, value in one[1].items()}
    assert audited(one[0], loud, images=1).verdict == "not-identifiable"
    assert {one["change"] for one in changes} >= {"smallest entries pruned", "last layer's weight withheld"}


# Forms --------------------------------------------------------------------------------------------------------------


FORMS = {
    "as it is": lambda update: update,
    "with an axis for the client": lambda update: {name: value[None] for name, value in update.items()},
    "arrays": lambda update: {name: value.numpy() for name, value in update.items()},
    "another order": lambda update: dict(reversed(update.items())),
    "float64": lambda update: {name: value.double() for name, value in update.items()},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_update_is_taken(one, form):
    network, update, _ = one
    assert audited(network, FORMS[form](update)).verdict == "recovered-exactly"


def test_half_precision_is_read_as_float32_and_noted(one):
    network, update, image = one
    said = audited(network, {name: value.half() for name, value in update.items()}, originals=image).to_dict()
    assert "half precision is read as float32" in said["settings"]["notes"]
    assert said["verdict"].startswith("recovered")


def test_weights_before_and_after_are_an_update_and_the_model_stays(network, pixels):
    made = network()
    update, lr = sent(made, pixels[:1], [2]), 0.5
    before = {name: value.detach().clone() for name, value in made.state_dict().items()}
    after = {name: value - lr * update[name] for name, value in before.items()}
    other = network()
    with torch.no_grad():
        other[0].weight.zero_()
    found = audited(other, None, before=before, after=after, lr=lr, originals=pixels[:1])
    assert found.to_dict()["update"]["kind"] == "weights"
    assert found.to_dict()["labels"] == [2]
    assert found.verdict.startswith("recovered")
    assert not other[0].weight.any()


def test_several_local_steps_are_taken_into_account(network, pixels):
    from fldrep.models.updates import LocalSteps

    made = network()
    update = sent(made, pixels[:2], [1, 4], local=LocalSteps(2, 1, 0.05))
    said = audited(made, update, images=2, epochs=2, batch_size=1, lr=0.05, labels=[1, 4], originals=pixels[:2])
    assert said.to_dict()["update"]["steps"] == 4
    assert said.to_dict()["settings"]["local"] == {"epochs": 2, "batch_size": 1, "lr": 0.05, "momentum": 0.0}
    assert next(one for one in said.to_dict()["not_tried"] if one["what"] == "closed-form")["why"]


def layouts(pixels):
    raw = (pixels * 255).round().byte()
    return {
        "(B, C, H, W)": raw,
        "(B, H, W, C)": raw.permute(0, 2, 3, 1),
        "(C, H, W)": raw[0],
        "(H, W, C)": raw[0].permute(1, 2, 0),
        "(H, W)": raw[0, 0],
        "(B, H, W)": raw[:, 0],
        "floats in [0, 1]": raw / 255.0,
        "an array": raw.numpy(),
        "half": (raw / 255.0).half(),
        "the input": CONSTANTS.to_input(raw / 255.0),
    }


@pytest.mark.parametrize("layout", layouts(torch.zeros(1, *SHAPE)))
def test_originals_come_in_any_layout(pixels, layout):
    found, taken_as = originals_of(layouts(pixels[:1])[layout], SHAPE, CONSTANTS)
    assert taken_as == ("the network's input" if layout == "the input" else "pixels")
    expected = CONSTANTS.to_input((pixels[:1] * 255).round() / 255)
    assert found.shape == (1, *SHAPE)
    assert (found - expected).abs().max() < (1e-2 if layout == "half" else 1e-5)


def test_originals_of_three_channels_are_told_apart_from_the_last_axis():
    rgb = torch.randint(0, 256, (2, 12, 14, 3), dtype=torch.uint8)
    three = Normalisation((0.0,) * 3, (1.0,) * 3)
    found, _ = originals_of(rgb, (3, 12, 14), three)
    assert torch.equal(found, originals_of(rgb.permute(0, 3, 1, 2), (3, 12, 14), three)[0])


# Networks and clients -------------------------------------------------------------------------------------------------


def test_a_network_of_ones_own_with_relus_and_batch_norm(network, pixels):
    made = network(Residual)
    said = audited(made, sent(made.eval(), pixels[:1], [0]), originals=pixels[:1]).to_dict()
    assert said["verdict"] in ("recovered", "identifiable-not-recovered")
    assert said["labels"] == [0]
    assert [one["what"] for one in said["not_tried"]][:1] == ["closed-form"]
    assert any("running statistics" in one["what"] for one in said["not_tried"])


def test_training_mode_and_weights_with_missing_buffers_are_noted(network, pixels):
    made = network(Residual)
    update = sent(made.eval(), pixels[:1], [0])
    weights = {name: value for name, value in made.state_dict().items() if "running" not in name}
    notes = audited(made.train(), update, weights=weights, budget=1.0).to_dict()["settings"]["notes"]
    assert any("eval mode" in note for note in notes)
    assert any("norm.running_mean" in note for note in notes)
    assert made.training


@pytest.mark.parametrize("given", [{"labels": [3, 1]}, {"images": 2}])
def test_several_images(network, pixels, given):
    made = network()
    update = sent(made, pixels[:2], [3, 1])
    found = audited(made, update, originals=pixels[:2], budget=20.0, **given)
    said = found.to_dict()
    assert said["update"]["images"] == 2
    assert sorted(said["labels"]) == [1, 3]
    assert found.verdict.startswith("recovered")
    assert said["identifiability"]["floor"] < 0.1
    assert {"original-1", "original-2", "gs-spectral-2"} <= found.pictures.keys()


def test_several_images_of_which_nothing_tells_are_not_taken_for_one_with_noise(network, pixels):
    made = network()
    update = sent(made, pixels[:2], [3, 1])
    with pytest.raises(ConfigError, match="images: expected how many there are: nothing told"):
        audited(made, update)
    alone = audited(made, sent(made, pixels[:1], [3]), budget=1.0).to_dict()
    assert "nothing told how many images a client has: taken for one" in alone["settings"]["notes"]


def test_secure_aggregation_leaves_the_mean_of_all_clients(network, pixels):
    made = network()
    update = sent(made, pixels, [0, 1, 2])
    said = audited(made, update, clients=3, originals=pixels[:1]).to_dict()
    assert said["update"]["images"] == 3
    assert said["identifiability"]["unknowns"] == 3 * 144
    assert "secure aggregation" in said["threat_model"]["sees"]


def test_the_threat_model_says_what_each_attack_takes(network, pixels):
    made = network()
    said = audited(made, sent(made, pixels[:1], [1]), originals=pixels[:1], budget=20.0).to_dict()
    tried = [one["attack"] for one in said["attacks"]]
    assert said["threat_model"]["server"] == PASSIVE
    assert said["threat_model"]["attacks"] == {name: list(threat_of(attack_settings(name)).knows) for name in tried}


def test_images_too_small_for_ssim_are_judged_by_their_error(pixels):
    torch.manual_seed(0)
    made = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Sigmoid(), nn.Linear(8, 3))
    small = pixels[:1, :, :4, :4]
    model = fldrep.wrap(made, (1, 4, 4)).eval()
    update = fldrep.client_update(model, CONSTANTS.to_input(small), torch.tensor([2]))
    found = audited(made, update, shape=(1, 4, 4), originals=small, budget=2.0)
    assert found.verdict == "recovered-exactly"
    assert {one["ssim"] for one in found.to_dict()["attacks"]} == {None}


def test_a_network_whose_head_is_named(network, pixels):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.aside = network(Residual), nn.Linear(2, 2)

        def forward(self, x):
            self.aside(x.new_zeros(1, 2))
            return self.inner(x) * 1.0

    wrapped = fldrep.wrap(Named(), SHAPE, head="inner.fc").eval()
    images = CONSTANTS.to_input(pixels[:1])
    update = {name: value[0] for name, value in fldrep.client_update(wrapped, images, torch.tensor([0])).items()}
    assert "inner.fc.weight" in update
    weights = {name: value for name, value in Named().state_dict().items() if name in update}
    assert audited(wrapped, update, weights=weights, budget=1.0).verdict == "identifiable-not-recovered"


def test_an_update_of_zeros_is_nothing_to_attack(one, tmp_path):
    network, update, image = one
    found = audited(network, {name: torch.zeros_like(value) for name, value in update.items()}, originals=image)
    said = found.to_dict()
    assert (said["verdict"], said["attacks"], said["identifiability"]) == ("nothing-to-attack", [], None)
    found.save(tmp_path)
    assert "Nothing to attack" in (tmp_path / "audit.html").read_text()


# Defenses -------------------------------------------------------------------------------------------------------------


def evidence(network, update):
    return evidence_of(case_of(network, update, shape=SHAPE, normalisation=CONSTANTS))


def defended(one, method, **settings):
    network, update, image = one
    model, whole = fldrep.wrap(network, SHAPE).eval(), {name: value[None] for name, value in update.items()}
    client = {"model": model, "images": CONSTANTS.to_input(image), "labels": torch.tensor([3])}
    return fldrep.defend(whole, method, **client, **settings)


@pytest.mark.parametrize(
    ("method", "settings", "zeros"),
    [("none", {}, "none"), ("soteria", {"rate": 0.8}, "head"), ("compression", {"rate": 0.8}, "all")],
)
def test_the_update_shows_what_was_pruned(one, method, settings, zeros):
    assert evidence(one[0], defended(one, method, **settings)).zeros == zeros


@pytest.mark.parametrize("std", [1e-4, 1e-2])
def test_the_update_shows_noise_by_the_rank_of_its_last_layer(one, std):
    assert evidence(one[0], one[1]).noise == 0
    assert evidence(one[0], defended(one, "gaussian", std=std)).noise == pytest.approx(std, rel=0.1)


def test_soteria_does_not_change_the_verdict(one):
    assert audited(one[0], defended(one, "soteria", rate=0.8)).verdict == "recovered-exactly"


def test_heavy_noise_is_not_identifiable_and_says_so(one):
    found = audited(one[0], defended(one, "gaussian", std=5.0), images=1)
    assert found.verdict == "not-identifiable"
    assert found.to_dict()["counterfactual"] == []
    assert "closed-form" in [one["what"] for one in found.to_dict()["not_tried"]]


def test_so_few_entries_that_counting_suffices(one):
    said = audited(one[0], defended(one, "compression", rate=0.999), budget=0.01).to_dict()
    assert said["identifiability"]["method"] == "bound"
    assert said["verdict"] == "not-identifiable"


# Budget ---------------------------------------------------------------------------------------------------------------


def test_a_small_budget_says_what_more_would_try(one):
    said = audited(one[0], one[1], budget=0.02).to_dict()
    assert said["attacks"] == []
    assert said["identifiability"]["method"] == "bound"
    assert "which would do" in said["identifiability"]["reason"]
    assert any("it takes about" in one["why"] for one in said["not_tried"])
    assert said["verdict"] == "identifiable-not-recovered"


def test_a_plan_that_overruns_is_cut(one, monkeypatch):
    monkeypatch.setattr(work, "OVERRUN", 0.0)
    said = audited(*one[:2]).to_dict()
    assert said["cut"]
    assert said["attacks"] == []
    assert any(one["why"].startswith("cut") for one in said["not_tried"])


def test_a_bar_reaches_its_end(one):
    class Bar:
        def __init__(self, total, desc, **_):
            self.total, self.at, self.said = total, 0.0, []
            bars.append(self)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, more):
            self.at += more

        def set_description_str(self, what):
            self.said.append(what)

    bars: list[Bar] = []
    audited(*one[:2], progress=Bar)
    assert len(bars) == 1
    assert bars[0].at == pytest.approx(bars[0].total, rel=0.01)
    assert "closed-form" in bars[0].said


def test_pictures_of_any_number_of_channels():
    assert [picture_of(torch.rand(channels, 4, 5)).mode for channels in (1, 2, 3)] == ["L", "L", "RGB"]
    assert np.asarray(picture_of(torch.full((1, 2, 2), torch.nan))).max() == 0


def test_a_minute_has_room_for_the_strongest_attack_on_the_reference_convnet():
    shape = (3, 32, 32)
    model = fldrep.build_model("convnet", shape, classes=10, width=64).eval()
    update = fldrep.client_update(model, torch.randn(1, *shape), torch.tensor([3]))
    case = case_of(model, update, shape=shape)
    closed_form = plan_of(case, evidence_of(case), 60.0).attacks[0]
    assert (closed_form.settings.title, closed_form.why_not) == ("closed-form", "")
    assert closed_form.operations > 0
