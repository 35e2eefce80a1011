"""An attack as data: what presets are, what a config may combine, and what is refused by key."""

import json
import sys
from subprocess import run

import pytest

from fldrep.config.attacks import ATTACKS, attack_settings, members_of, modules_of
from fldrep.config.checking import stable_json
from fldrep.config.needs import NEEDS, Public, Sent, Structure, lacks
from fldrep.config.presets import ATTACK_PRESETS, ATTACK_SOURCES, OLD_ATTACKS, variant_of
from fldrep.errors import ConfigError, UnknownName

LBFGS = {"iterations": 300, "lr": 1.0, "restarts": 1, "inner_iterations": 20, "history": 100}
ADAM = {"iterations": 24_000, "lr": 0.1, "restarts": 1, "total_variation": 1e-4, "box": True, "lr_decay": True}
SPECTRAL = {"iterations": 150, "restarts": 1, "lr": 0.4, "box": True, "spectrum": 1.0, "chroma": 0.3}
SPECTRAL |= {"labels": "known", "smoothing": 0.3, "edge": 0.1}
# What every preset is, key by key; the published ones and theirs as before attacks were data.
WERE = {
    "dlg": {"labels": "optimised", **LBFGS},
    "idlg": {"labels": "inferred", **LBFGS},
    "gs": {"labels": "known", **ADAM},
    "gs-masked": {"labels": "known", **ADAM},
    "gs-drop": {"labels": "known", **ADAM},
    "gs-pruned": {"labels": "known", **ADAM},
    "gs-l2": {"labels": "known", **ADAM},
    "gs-averaged": {"labels": "known", **ADAM, "repeats": 16},
    "gs-spectral": SPECTRAL,
    "gs-spectral-masked": SPECTRAL,
    "gs-spectral-drop": SPECTRAL,
    "gs-spectral-pruned": SPECTRAL,
    "gs-spectral-averaged": {**SPECTRAL, "repeats": 16},
    "dlg-scaled": {"labels": "optimised", **LBFGS},
    "dlg-masked": {"labels": "optimised", **LBFGS},
    "dlg-pruned": {"labels": "optimised", **LBFGS},
    "r-matching": {"labels": "known", **ADAM, "feature_weight": 1.0},
    "r-matching-spectral": {**SPECTRAL, "feature_weight": 1.0},
    "ensemble": {"labels": "known", **ADAM, "feature_weight": 1.0},
}
THROUGH_MASK = ["head-mask", "pruned-representation", "one-step"]
READ_FROM_HEAD = ["one-image", "one-step", "head-bias"]
# What their code said: objective, what is compared, optimiser, through the mask, needs; variant of.
ARE = {
    "dlg": ("l2", "all", "lbfgs", False, [], []),
    "idlg": ("l2", "all", "lbfgs", False, [], []),
    "gs": ("cosine", "all", "signed-adam", False, [], []),
    "gs-masked": ("cosine", "surviving", "signed-adam", False, ["mask"], ["gs"]),
    "gs-drop": ("cosine", "without-head", "signed-adam", False, ["head-mask"], ["gs"]),
    "gs-pruned": ("cosine", "surviving", "signed-adam", True, THROUGH_MASK, ["gs"]),
    "gs-l2": ("relative-l2", "all", "signed-adam", False, [], ["gs"]),
    "gs-averaged": ("cosine", "all", "signed-adam", False, ["noise"], ["gs"]),
    "gs-spectral": ("cosine", "all", "adam-spectral", False, [], ["gs"]),
    "gs-spectral-masked": ("cosine", "surviving", "adam-spectral", False, [], ["gs"]),
    "gs-spectral-drop": ("cosine", "without-head", "adam-spectral", False, ["head-mask"], ["gs"]),
    "gs-spectral-pruned": ("cosine", "surviving", "adam-spectral", True, THROUGH_MASK, ["gs"]),
    "gs-spectral-averaged": ("cosine", "all", "adam-spectral", False, ["noise"], ["gs"]),
    "dlg-scaled": ("scaled-l2", "all", "lbfgs", False, ["clip"], ["dlg"]),
    "dlg-masked": ("l2", "surviving", "lbfgs", False, ["mask"], ["dlg"]),
    "dlg-pruned": ("l2", "surviving", "lbfgs", True, THROUGH_MASK, ["dlg"]),
    "r-matching": ("cosine", "representation", "signed-adam", False, READ_FROM_HEAD, ["gs"]),
    "r-matching-spectral": ("cosine", "representation", "adam-spectral", False, READ_FROM_HEAD, ["gs"]),
    "ensemble": ("cosine", "surviving", "signed-adam", False, [], ["gs", "dlg"]),
}
OWN = {"objective": "cosine", "optimiser": "signed-adam", "iterations": 3}
PARTS = ("objective", "compares", "optimiser", "through_mask", "needs", "variant_of")


@pytest.mark.parametrize("preset", WERE)
def test_every_preset_is_what_it_was(preset):
    settings = attack_settings(preset)
    found = settings.model_dump(exclude_none=True)
    assert tuple(found.pop(part) for part in PARTS) == ARE[preset]
    assert found.pop("start") == (0.5 if "spectral" in ARE[preset][2] else 1)
    assert (found.pop("members", None) is not None) == (preset == "ensemble")
    assert found == {"preset": preset, **WERE[preset]}


def test_presets_have_sources_and_old_names():
    assert WERE.keys() == ARE.keys() <= ATTACK_PRESETS.keys() == ATTACK_SOURCES.keys()
    assert {name: variant_of(name) for name in ARE} == {name: tuple(one[-1]) for name, one in ARE.items()}
    assert variant_of("strongest") == ("gs", "dlg")
    for old, new in OLD_ATTACKS.items():
        with pytest.raises(UnknownName, match=new):
            attack_settings(old)
        with pytest.raises(ConfigError, match=f"preset: '{old}': .*'{new}'"):
            attack_settings(**OWN, members=[old])


@pytest.mark.parametrize("preset", WERE)
def test_what_a_job_is_told_is_complete_and_stays_what_it_is(preset):
    settings = attack_settings(preset, iterations=40)
    assert ATTACKS.validate(json.loads(stable_json(settings))) == settings
    descending = [one.iterations for one in members_of(settings).values() if one.optimiser != "layer-by-layer"]
    assert {*descending} <= {40, 2}


def test_without_a_preset_it_is_gs_or_one_of_your_own():
    assert attack_settings() == attack_settings("gs")
    assert attack_settings(iterations=3) == attack_settings("gs", iterations=3)
    mine = attack_settings(objective="cosine", optimiser="signed-adam", iterations=3, total_variation=1e-4)
    assert mine.preset is None
    assert mine.model_copy(update={"preset": "gs"}) == attack_settings("gs", iterations=3)
    assert (mine.variant_of, mine.needs, mine.title) == ([], [], "cosine by signed-adam")


@pytest.mark.parametrize(
    ("own", "needs"),
    [
        ({}, []),
        ({"compares": "surviving"}, ["mask"]),
        ({"compares": "without-head"}, ["head-mask"]),
        ({"compares": "representation"}, ["one-image", "one-step", "head-bias"]),
        ({"compares": "surviving", "through_mask": True}, ["head-mask", "pruned-representation", "one-step"]),
        ({"objective": "scaled-l2", "repeats": 4}, ["clip", "noise"]),
        ({"compares": "surviving", "members": ["gs", "dlg"]}, []),
        ({"compares": "surviving", "needs": []}, []),
        ({"needs": ["noise"]}, ["noise"]),
    ],
    ids=str,
)
def test_parts_say_what_they_need(own, needs):
    assert attack_settings(**OWN | own).needs == needs


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"preset": "gs", "history": 3}, r"history: 3: not used by preset 'gs', which takes .*total_variation"),
        ({"preset": "dlg", "total_variation": 0.1}, r"total_variation: 0.1: not used by preset 'dlg'"),
        ({"preset": "gs", "repeats": 2}, r"repeats: 2: not used by preset 'gs'"),
        ({"preset": "gs", "objective": "l2"}, r"objective: 'l2': preset 'gs' has 'cosine'"),
        ({"preset": "gs", "needs": ["noise"]}, r"needs: \['noise'\]: preset 'gs' has \[\]"),
        ({"preset": "ensemble", "members": ["gs"]}, r"members: \['gs'\]: preset 'ensemble' has \['closed-form', "),
        (
            {"preset": "gs", "colour": 1, "lr": -1},
            r"colour: 1: unknown key; preset 'gs' takes box, .*; lr: -1: .*greater",
        ),
        ({**OWN, "history": 3}, r"history: 3: not used by this attack, which takes .*lr_decay"),
        ({**OWN, "colour": 1}, r"colour: 1: unknown key; this attack takes .*total_variation"),
        ({**OWN, "feature_weight": 1.0}, r"feature_weight: 1.0: not used by this attack"),
        ({"objective": "cosine"}, r"optimiser: missing"),
        ({"optimiser": "lbfgs"}, r"objective: missing"),
        ({"objective": "l3", "optimiser": "lbfgs"}, r"objective: 'l3': Input should be .*'cosine', .*or 'truncated'"),
        ({"objective": "l2", "optimiser": 3}, r"optimiser: 3: Input should be .*'lbfgs', .*or 'signed-adam'"),
        ({"objective": "l2", "optimiser": "lbfgs"}, r"iterations: missing"),
        ({**OWN, "compares": "some"}, r"compares: 'some': .*'without-head'"),
        ({**OWN, "labels": "optimised"}, r"labels: 'optimised': optimiser 'signed-adam'"),
        ({**OWN, "start": -1}, r"start: -1: .*greater than or equal to 0"),
        ({**OWN, "through_mask": True}, r"through_mask: True: expected compares: surviving"),
        ({**OWN, "needs": ["luck"]}, r"needs.0: 'luck': .*'one-image'"),
        ({**OWN, "variant_of": ["G S"]}, r"variant_of.0: 'G S'"),
        ({**OWN, "members": []}, r"members: \[\]: .*names of presets"),
        ({**OWN, "members": "gs"}, r"members: 'gs': .*names of presets"),
        ({**OWN, "members": ["gz"]}, r"members.gz.preset: 'gz': Input should be 'dlg'"),
        ({**OWN, "members": {"a": {"preset": "gs", "lr": -1}}}, r"members.a.lr: -1: .*greater than 0"),
        ({**OWN, "members": {"a": {"preset": "gs", "iterations": 1}}}, r"members.a.iterations: 1: the ensemble says"),
        ({**OWN, "members": {"a": 3}}, r"members.a: 3: Input should be a valid dictionary"),
        ({**OWN, "members": {"A b": {"preset": "gs"}}}, r"members.A b: 'A b': "),
    ],
    ids=str,
)
def test_what_is_wrong_is_refused_by_key(given, told):
    with pytest.raises(ConfigError, match=told) as refused:
        attack_settings(**given)
    assert "\n" not in str(refused.value)


def test_a_job_depends_on_the_parts_that_its_attack_uses():
    def parts(*given, **keys):
        return {one.removeprefix("fldrep.attack.") for one in modules_of(attack_settings(*given, **keys))}

    adam = {"optimisers.signed_adam", "regularisers.total_variation", "objectives.cosine"}
    assert parts("gs") == {"engine", *adam}
    assert parts("gs", total_variation=0.0) == {"engine", *adam} - {"regularisers.total_variation"}
    assert parts("dlg-pruned") == {"pruned", "objectives.l2", "optimisers.lbfgs"}
    both = {"objectives.l2", "objectives.relative_l2", "objectives.scaled_l2", "optimisers.lbfgs"}
    spectral, exact = "optimisers.adam_spectral", {"optimisers.layer_by_layer", "objectives.balanced_l2"}
    assert parts("gs-spectral") == {"engine", "objectives.cosine", spectral}
    assert parts("ensemble") == {"ensemble", "engine", "pruned", *adam, *both, spectral, *exact}


# ---- what an attack needs

GRADIENT, TWO, STEPS = Sent(), Sent(images=2), Sent(images=2, local_steps=4)
UNKNOWN = Public("head")


@pytest.mark.parametrize(
    ("preset", "public", "sent", "lacking"),
    [
        ("gs", Public("none", False, False, False), STEPS, []),
        ("ensemble", Public("none", False, False, False), STEPS, []),
        ("gs-masked", Public("none"), GRADIENT, ["defense"]),
        ("dlg-masked", Public("none"), GRADIENT, ["defense"]),
        ("gs-masked", Public("all"), STEPS, []),
        ("gs-spectral-masked", Public("none"), STEPS, []),
        ("gs-spectral-drop", Public("all"), GRADIENT, ["defense"]),
        ("gs-drop", Public("none"), GRADIENT, ["defense"]),
        ("gs-drop", Public("all"), GRADIENT, ["defense"]),
        ("gs-drop", Public("head"), STEPS, []),
        ("gs-pruned", Public("head", representation=False), GRADIENT, ["defense"]),
        ("gs-pruned", Public("head", representation=True), TWO, []),
        ("gs-pruned", Public("head", representation=True), STEPS, ["update"]),
        ("dlg-pruned", Public("none"), GRADIENT, ["defense"]),
        ("dlg-pruned", UNKNOWN, GRADIENT, []),
        ("gs-averaged", Public(noise=False), GRADIENT, ["defense"]),
        ("gs-averaged", Public(noise=True), STEPS, []),
        ("gs-averaged", UNKNOWN, GRADIENT, []),
        ("dlg-scaled", Public(clip=False), GRADIENT, ["defense"]),
        ("dlg-scaled", Public(clip=True), GRADIENT, []),
        ("r-matching", Public("none"), GRADIENT, []),
        ("r-matching", Public("head"), TWO, ["update"]),
        ("r-matching", Public("head"), Sent(local_steps=1), ["update"]),
        ("r-matching", Public("head"), STEPS, ["update", "update"]),
        ("r-matching", Public("head"), Sent(head_bias=False), ["update"]),
    ],
)
def test_needs_say_what_was_refused_by_name(preset, public, sent, lacking):
    assert [one.whose for one in lacks(attack_settings(preset).needs, public, sent)] == lacking


def test_every_need_can_be_met_and_lacking():
    nothing = Public("none", False, False, False), Sent(2, 3, False, False, False), Structure("ReLU", "ReLU", False)
    everything = Public("head", True, True, True), Sent(), Structure("", "")
    everywhere = Public("all", True), Sent(), Structure()
    found = [[bool(lacks([one], *known)) for known in (nothing, everything, everywhere)] for one in NEEDS]
    assert all(True in one for one in found)
    assert all(False in one for one in found)
    assert lacks(NEEDS, Public(noise=None), Sent()) == lacks(["mask", "head-mask"], Public(), Sent())


def test_settings_of_attacks_need_no_torch():
    code = "from fldrep.config.attacks import *; attack_settings('ensemble'); ATTACKS.sections()"
    done = run([sys.executable, "-c", f"{code}; import sys; assert 'torch' not in sys.modules"], capture_output=True)
    assert done.returncode == 0, done.stderr
