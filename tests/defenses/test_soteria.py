import math
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from fldrep.config.defenses import defense_settings
from fldrep.defenses.client import Client
from fldrep.defenses.defended import defended_update, defense_of
from fldrep.defenses.quantile import percentile
from fldrep.defenses.rates import effective_rates, rates_of_update
from fldrep.defenses.soteria.masks import column_mask, masks_of, training_mask, update_masks
from fldrep.defenses.soteria.rules import RULES, feature_scores, rank_features
from fldrep.derivatives.jacobian import feature_norms, full_jacobian
from fldrep.derivatives.pseudoinverse import column_norms_of_inverse
from fldrep.errors import ConfigError
from fldrep.models.updates import LocalSteps, client_update

RELU = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3, 2), nn.ReLU(), nn.Flatten()]
SIGNED = {
    "tanh": [nn.Conv2d(3, 6, 3, 2), nn.Tanh(), nn.Flatten()],
    "leaky": [nn.Conv2d(3, 6, 3, 2), nn.LeakyReLU(0.1), nn.Flatten()],
}
VARIANTS = ("notebook", "script")


def largest_first(scores, live, rate):
    """The slow twin of counting: Python's sort, ties to the lower index."""
    order = sorted((i for i in range(len(scores)) if live[i]), key=lambda i: (-float(scores[i]), i))
    pruned = set(order[: round(rate * len(order))])
    return torch.tensor([i not in pruned for i in range(len(scores))])


def test_every_rule_of_the_settings_is_known():
    assert set(RULES) == set(get_args(defense_settings("soteria", rate=0.5).__class__.model_fields["rule"].annotation))


# The reference's numbers ----------------------------------------------------------------------------------------------


def test_golden_features_and_norms(golden_case):
    model, images, _, golden = golden_case
    np.testing.assert_allclose(model.features(images).detach(), golden["features"], rtol=1e-5)
    np.testing.assert_allclose(feature_norms(model, images), golden["feature_gradient_norms"], rtol=2e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_golden_thresholds_and_masks_of_each_sample_and_of_the_batch(variant, golden_case):
    model, images, _, golden = golden_case
    rule = f"reference-{variant}"
    ranked = rank_features(model, images, rule)
    one_by_one = ranked.values.unsqueeze(1), ranked.live.unsqueeze(1)
    for number, rate in enumerate(golden["rates"].tolist()):
        masks = masks_of(*one_by_one, rate, rule)
        np.testing.assert_array_equal(masks, golden[f"mask_{variant}"][:, number].astype(bool), err_msg=f"{rate}")
        mask = masks_of(ranked.values, ranked.live, rate, rule)
        np.testing.assert_array_equal(mask, golden[f"batch_mask_{variant}"][number].astype(bool), err_msg=f"{rate}")
        thresholds = percentile(ranked.values, rate)
        np.testing.assert_allclose(thresholds, golden[f"threshold_{variant}"][:, number], rtol=2e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_golden_masks_from_the_public_face(variant, golden_case):
    model, images, _, golden = golden_case
    each = column_mask(model, images, 0.6, f"reference-{variant}")
    together = column_mask(model, images, 0.6, f"reference-{variant}", per="batch")
    np.testing.assert_array_equal(each, golden[f"mask_{variant}"][:, 3].astype(bool))
    np.testing.assert_array_equal(together, golden[f"batch_mask_{variant}"][3].astype(bool))


def test_one_mask_a_batch_is_not_one_mask_a_sample(golden):
    assert any((golden["batch_mask_script"] != golden["mask_script"][number]).any() for number in range(4))


# The percentile -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0, 0.01, 0.25, 0.3, 0.5, 0.77, 1])
def test_percentile_is_numpys(share):
    values = torch.randn(7, 101, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[1, 3], values[2, 5] = math.inf, -math.inf
    with np.errstate(invalid="ignore"):
        expected = np.percentile(values.numpy(), 100 * share, axis=1)
    np.testing.assert_allclose(percentile(values, share), expected, rtol=1e-14)


def test_percentile_of_what_holds_a_nan_is_nan():
    values = torch.tensor([[0.0, 1.0, 2.0], [0.0, math.nan, 2.0]])
    assert percentile(values, 0.1).isnan().tolist() == [False, True]


# The ratio rule -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0, 0.1, 0.4, 0.65, 1])
@pytest.mark.parametrize("layers", [RELU, *SIGNED.values()], ids=["relu", *SIGNED])
def test_ratio_prunes_the_largest_shares_of_live_features(layers, rate, make_network, draw_images):
    model, images = make_network(*layers), draw_images(3)
    features, norms = model.features(images).detach(), feature_norms(model, images)
    masks = column_mask(model, images, rate)
    for r, norm, mask in zip(features, norms, masks, strict=True):
        scores = [abs(float(a)) / float(b) if b > 0 else 0.0 for a, b in zip(r, norm, strict=True)]
        assert torch.equal(mask, largest_first(scores, norm > 0, rate))


def test_dead_features_are_neither_pruned_nor_counted(make_network, draw_images):
    model, images = make_network(*RELU), draw_images(3)
    live = feature_norms(model, images) > 0
    assert 0.1 < live.double().mean() < 0.9
    masks = column_mask(model, images, 0.5)
    assert masks[~live].all()
    assert (~masks).sum(1).tolist() == [round(0.5 * count) for count in live.sum(1).tolist()]
    assert not feature_scores(model, images)[~live].any()
    assert torch.equal(~column_mask(model, images, 1), live)


def test_a_live_feature_at_zero_scores_zero_and_goes_last(make_network, draw_images):
    model, images = make_network(*SIGNED["tanh"]), draw_images(1)
    with torch.no_grad():
        first = model.body[0](images)[0, 0, 0, 0]
        model.body[0].bias[0] -= first  # feature 0 is now tanh(0), and as live as can be
    scores, live = feature_scores(model, images)[0], feature_norms(model, images)[0] > 0
    assert scores[0].item() == pytest.approx(0, abs=1e-12)
    assert live.all()
    almost_all = 1 - 1 / len(live)
    assert column_mask(model, images, almost_all)[0].nonzero().flatten().tolist() == [0]


def test_signed_features_are_ranked_by_magnitude(make_network, draw_images):
    model, images = make_network(*SIGNED["tanh"]), draw_images(1)
    scores = feature_scores(model, images)
    assert (model.features(images) < 0).any()
    assert (scores >= 0).all()
    with torch.no_grad():  # tanh is odd: turning the sign of a channel's weights turns the sign of its features alone
        for tensor in model.body[0].parameters():
            tensor[:3] *= -1
    torch.testing.assert_close(feature_scores(model, images), scores)


def test_ties_go_to_the_lower_index():
    values, live = torch.tensor([[1.0, 2.0, 2.0, 9.0, 2.0, 1.0]]), torch.tensor([[True, True, True, False, True, True]])
    assert masks_of(values, live, 0.4, "ratio").tolist() == [True, False, False, True, True, True]
    flat = torch.ones(1, 300)
    assert masks_of(flat, flat > 0, 0.5, "ratio").tolist() == [False] * 150 + [True] * 150


# The reference rules' quirks ------------------------------------------------------------------------------------------


def test_dead_features_turn_the_notebooks_rule_off(make_network, draw_images):
    model, images = make_network(*RELU), draw_images()
    assert column_mask(model, images, 0.8, "reference-notebook").all()
    dead = feature_norms(model, images) == 0
    scores = feature_scores(model, images, "reference-notebook")
    assert torch.equal(scores.isnan(), dead)
    assert (scores[~dead] < 0).all()


def test_dead_features_use_up_the_scripts_quota(make_network, draw_images):
    model, images = make_network(*RELU), draw_images(1)
    live = feature_norms(model, images)[0] > 0
    share = 1 - live.double().mean().item()
    assert column_mask(model, images, share - 0.05, "reference-script").all()
    above = column_mask(model, images, share + 0.2, "reference-script")[0]
    assert not above[~live].any()
    assert 0 < (~above[live]).sum() < 0.3 * len(live)


@pytest.mark.parametrize("name", SIGNED)
def test_the_signed_percentile_spares_signed_features_at_low_rates(name, make_network, draw_images):
    model, images = make_network(*SIGNED[name]), draw_images(1)
    values = feature_norms(model, images) / model.features(images).detach()
    assert percentile(values, 0.1) < 0
    assert column_mask(model, images, 0.1, "reference-notebook").all()
    threshold = float(percentile(values, 0.9))
    expected = [not abs(float(value)) < threshold for value in values[0]]
    assert column_mask(model, images, 0.9, "reference-notebook")[0].tolist() == expected


# The inverse rule -----------------------------------------------------------------------------------------------------


def test_inverse_scores_equal_numpys_pseudo_inverse(make_network, draw_images):
    model, images = (
        make_network(nn.Conv2d(3, 2, 3, 2), nn.LeakyReLU(0.3), nn.Conv2d(2, 2, 2), nn.Tanh(), nn.Flatten()),
        draw_images(),
    )
    scores = feature_scores(model, images, "inverse")
    for image, r, found in zip(images, model.features(images).detach(), scores, strict=True):
        columns = np.linalg.norm(np.linalg.pinv(full_jacobian(model, image).numpy()), axis=0)
        np.testing.assert_allclose(found, np.abs(r.numpy()) * columns, rtol=1e-8)


def test_inverse_leaves_dead_features_out(make_network, draw_images):
    model, images = make_network(*RELU), draw_images(1)
    live = feature_norms(model, images)[0] > 0
    scores = feature_scores(model, images, "inverse")[0]
    assert not scores[~live].any()
    assert (scores[live] > 0).all()
    assert torch.equal(column_mask(model, images, 0.3, "inverse")[0], largest_first(scores, live, 0.3))


def test_inverse_of_an_ill_conditioned_jacobian():
    """Condition number 1e9: forming J J^T would lose everything in float64."""
    draw = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(n, 20, generator=draw, dtype=torch.float64)).Q for n in (20, 50))
    singular = torch.logspace(0, -9, 20, dtype=torch.float64)
    norms, about = column_norms_of_inverse(left @ torch.diag(singular) @ right.T)
    torch.testing.assert_close(norms, (left / singular).norm(dim=1), rtol=1e-5, atol=0)
    assert (about.rank, about.live) == (20, 20)
    assert about.condition == pytest.approx(1e9, rel=1e-5)


@pytest.mark.parametrize(("smallest", "rank"), [(1e-13, 20), (1e-16, 19)])
def test_rank_counts_singular_values_above_the_documented_cutoff(smallest, rank):
    """50 columns: the cutoff is 50 * 2.2e-16 = 1.1e-14 of the largest."""
    draw = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(n, 20, generator=draw, dtype=torch.float64)).Q for n in (20, 50))
    singular = torch.ones(20, dtype=torch.float64)
    singular[-1] = smallest
    norms, about = column_norms_of_inverse(left @ torch.diag(singular) @ right.T)
    assert about.rank == rank
    assert (norms.max() > 1e10) == (rank == 20)


@pytest.mark.parametrize("shape", [(9, 20), (20, 9)], ids=["dependent rows", "more features than pixels"])
def test_without_an_inverse_the_pseudo_inverse_stands_in(shape):
    draw = torch.Generator().manual_seed(0)
    jacobian = (
        torch.randn(shape[0], 5, generator=draw, dtype=torch.float64)
        @ torch.randn(5, shape[1], generator=draw).double()
    )
    jacobian[3] = 0
    norms, about = column_norms_of_inverse(jacobian)
    np.testing.assert_allclose(norms, np.linalg.norm(np.linalg.pinv(jacobian.numpy(), rcond=1e-13), axis=0), atol=1e-12)
    assert (about.rank, about.live) == (5, shape[0] - 1)
    singular = np.linalg.svd(jacobian.numpy(), compute_uv=False)
    assert about.condition == pytest.approx(singular[0] / singular[4])
    assert norms[3] == 0


def test_a_network_of_dead_features_has_no_inverse():
    norms, about = column_norms_of_inverse(torch.zeros(3, 4, dtype=torch.float64))
    assert norms.tolist() == [0, 0, 0]
    assert (about.rank, about.live) == (0, 0)


# Scores and masks of every rule ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [*RULES])
@pytest.mark.parametrize("name", SIGNED)
def test_larger_scores_are_pruned_first(rule, name, make_network, draw_images):
    model, images = make_network(*SIGNED[name]), draw_images()
    scores = feature_scores(model, images, rule)
    for rate in (0.6, 0.9):
        for score, mask in zip(scores, column_mask(model, images, rate, rule), strict=True):
            assert 0 < mask.sum() < len(mask)
            assert score[~mask].min() >= score[mask].max()


@pytest.mark.parametrize("rule", [*RULES])
def test_a_batch_of_one_has_the_mask_of_its_sample(rule, make_network, draw_images):
    model, images = make_network(*SIGNED["tanh"]), draw_images(1)
    assert torch.equal(column_mask(model, images, 0.7, rule, "batch"), column_mask(model, images, 0.7, rule)[0])


def test_a_batchs_mask_is_that_of_the_summed_scores(make_network, draw_images):
    model, images = make_network(*RELU), draw_images(3)
    scores, live = feature_scores(model, images), feature_norms(model, images) > 0
    found = column_mask(model, images, 0.5, per="batch")
    assert torch.equal(found, largest_first(scores.sum(0), live.any(0), 0.5))


def test_an_update_of_several_images_has_one_mask(make_network, draw_images):
    model, images = make_network(*RELU), draw_images(6).unflatten(0, (2, 3))
    found = update_masks(model, images, 0.5)
    expected = [column_mask(model, one, 0.5, per="batch") for one in images]
    assert torch.equal(found, torch.stack(expected))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"rate": 1.5}, r"rate=1.5 is not in \[0, 1\]"),
        ({"rate": float("nan")}, "rate=nan"),
        ({"rate": 0.5, "rule": "ration"}, "unknown rule 'ration'; known: inverse"),
        ({"rate": 0.5, "per": "class"}, "unknown per 'class'; known: batch, sample"),
        ({"rate": 0.5, "how": "fast"}, "unknown estimator 'fast'"),
    ],
)
def test_bad_arguments_are_named(arguments, complaint, make_network, draw_images):
    with pytest.raises(ConfigError, match=complaint):
        column_mask(make_network(*RELU), draw_images(), **arguments)


def test_batch_norm_in_training_mode_is_refused(make_network, draw_images):
    model = make_network(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()).train()
    for call in (lambda: feature_scores(model, draw_images()), lambda: column_mask(model, draw_images(), 0.5)):
        with pytest.raises(ConfigError, match=r"batch norm 'body.1' is in training mode"):
            call()


# In training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["variance", "jvp", "exact"])
@pytest.mark.parametrize("rule", ["ratio", "reference-script"])
def test_training_mask_is_the_batch_mask_of_its_estimator_in_any_mode(estimator, rule, make_network, draw_images):
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3), nn.Flatten()]
    model, images = make_network(*layers), draw_images(5)
    settings = defense_settings(method="soteria", rate=0.6, rule=rule, norm_estimator=estimator)
    options = {"generator": torch.Generator().manual_seed(3), "directions": 16} if estimator == "jvp" else {}
    expected = column_mask(model, images, 0.6, rule, "batch", estimator, **options)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = training_mask(model.train(), images, settings, torch.Generator().manual_seed(3))
    assert torch.equal(found, expected)
    assert 0 < (~found).sum() < len(found)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_training_mask_depends_on_the_generator_only_where_it_draws(make_network, draw_images):
    model, images, unread = make_network(*RELU), draw_images(4), torch.Generator().manual_seed(0)
    state = unread.get_state()
    training_mask(model, images, defense_settings(method="soteria", rate=0.5), unread)
    assert torch.equal(unread.get_state(), state)


# Effective rates ------------------------------------------------------------------------------------------------------


def test_effective_rates_by_hand():
    features = torch.tensor([[1.0, -2.0, 0.0, 4.0], [3.0, 0.0, 4.0, 0.0]])
    live = torch.tensor([[True, True, False, True], [True, False, True, False]])
    mask = torch.tensor([[True, False, False, True], [False, False, False, False]])
    live_pruned, removed = effective_rates(features, live, mask)
    torch.testing.assert_close(live_pruned, torch.tensor([1 / 3, 1.0]))
    torch.testing.assert_close(removed, torch.tensor([4 / 21, 1.0]))
    assert effective_rates(features, live, mask[0])[0].tolist() == [pytest.approx(1 / 3), 0.5]


def test_effective_rates_of_nothing_are_zero():
    nothing = torch.zeros(1, 3)
    assert [rate.item() for rate in effective_rates(nothing, nothing > 0, nothing > 0)] == [0, 0]


def test_rates_are_read_from_the_update_as_sent(make_network, draw_images):
    model, images = make_network(*RELU), draw_images(4)
    update = client_update(model, images, torch.tensor([0, 1, 2, 3]))
    masks = column_mask(model, images, 0.4)
    update["head.weight"] *= masks.unsqueeze(1)
    features, live = model.features(images).detach(), feature_norms(model, images) > 0
    for found, expected in zip(
        rates_of_update(update, model, images), effective_rates(features, live, masks), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_a_zero_in_a_kept_column_does_not_make_it_pruned(make_network, draw_images):
    model, images = make_network(*RELU), draw_images(1)
    update = client_update(model, images, torch.tensor([0]))
    update["head.weight"][:, 1] = 0  # a class whose softmax underflows
    assert [rate.item() for rate in rates_of_update(update, model, images)] == [0, 0]


def test_rates_of_an_update_of_several_images(make_network, draw_images):
    model, images = make_network(*RELU), draw_images(6).unflatten(0, (2, 3))
    update = client_update(model, images, torch.tensor([[0, 1, 2], [3, 0, 1]]))
    masks = update_masks(model, images, 0.4)
    update["head.weight"] *= masks.unsqueeze(1)
    live_pruned, removed = rates_of_update(update, model, images)
    for number in range(2):
        features, live = model.features(images[number]).detach(), feature_norms(model, images[number]) > 0
        in_use = live.any(0)
        assert live_pruned[number].item() == pytest.approx((in_use & ~masks[number]).sum().item() / in_use.sum().item())
        share = features[:, ~masks[number]].square().sum() / features.square().sum()
        assert removed[number].item() == pytest.approx(share.item())


# Local steps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prune", ["gradient", "representation"])
def test_local_steps_are_pruned_as_in_training(make_network, draw_images, prune):
    """Against the loop that trains clients, told to take exact scores too."""
    from fldrep.train.client import local_sgd

    defense = defense_of(defense_settings("soteria", rate=0.5, prune=prune, norm_estimator="exact"))
    model, images, labels = make_network(*RELU), draw_images(5), torch.tensor([0, 1, 2, 3, 1])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = defended_update(defense, Client(model, images, labels), LocalSteps(2, 2, 0.1))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), "the model was moved"
    batches = [torch.tensor(one) for one in ([0, 1], [2, 3], [4])] * 2
    defense.on_model(model)
    local_sgd(Client(model, images, labels, torch.Generator(), training=True), batches, 0.1, defense)
    for name, value in model.named_parameters():
        torch.testing.assert_close(found[name][0], (before[name] - value.detach()) / 0.1, rtol=1e-9, atol=1e-11)


def test_an_update_of_local_steps_is_no_plain_one(make_network, draw_images):
    model, images, labels = make_network(*RELU), draw_images(2), torch.tensor([0, 1])
    local = LocalSteps(1, 1, 0.1)
    plain = client_update(model, images[None], labels[None], local)
    sent = defended_update(defense_of(defense_settings("soteria", rate=0.5)), Client(model, images, labels), local)
    assert sent.defended == "head"
    assert not torch.allclose(sent["head.weight"], plain["head.weight"])
