"""Which registry entries the sections of a config are made of, and so whose code a job runs."""

from collections.abc import Iterable, Iterator, Sequence

from fldrep import registry
from fldrep.config.attacks import AttackSettings, members_of, parts_of, way_of
from fldrep.config.defenses import DefenseSettings
from fldrep.config.models import ModelSettings
from fldrep.config.whole import Config
from fldrep.storage.places import Block, Checkpoint, DataSet, Picture, Run, Sent

Used = Iterable[tuple[str, str]]  # kinds and names of entries; of the kind `module`, a module of the package


def code_of(kind: str, name: str) -> Sequence[str | registry.Entry]:
    """Where the code of an entry is, as `plan.digest.code_digest` takes it."""
    if kind in registry.ROOMS and name in registry.entries(kind):
        return [registry.entry(kind, name)]
    return [name] if kind == "module" else []


def by_dataset(config: Config, where: DataSet) -> Used:
    """What the images of a data set are made by: its entry, or the reader of the user's folders."""
    yield ("module", "fldrep.data.folder") if where.dataset in config.data.sets else ("dataset", where.dataset)


def by_defense(settings: DefenseSettings) -> Used:
    """What a defense is made of."""
    yield "defense", settings.method


def by_model(settings: ModelSettings) -> Used:
    """What a network is made of."""
    yield "model", settings.architecture


def by_attack(settings: AttackSettings) -> Used:
    """What an attack is made of."""
    for one in (settings, *members_of(settings).values()):
        yield "module", way_of(one)
        yield from parts_of(one)


def by_metrics() -> Used:
    """What judges reconstructions: all there is."""
    yield from (("metric", name) for name in registry.entries("metric"))


def by_looks(config: Config) -> Used:
    """What says how the defenses of a config are shown."""
    yield from (("defense", settings.method) for settings in config.defenses.values())


def by_tables(*names: str) -> Used:
    """What says how the tables of these analyses are, of all if none is named: `tables.final` imports it on use."""
    known = registry.built_in("analysis")
    yield from (("module", f"{known[name].module}:{name.upper()}") for name in known if not names or name in names)


def by_figure(config: Config, where: Picture) -> Used:
    """What a figure is made of: itself, and the analyses whose tables it reads."""
    yield "figure", where.figure
    yield from by_tables(*registry.entry("figure", where.figure).words["reads"])


def by_claims() -> Used:
    """What judges claims: all there is."""
    yield from (("claim", name) for name in registry.built_in("claim"))
    yield from by_tables()


def by_page() -> Used:
    """Whose words the page shows: those of all claims, analyses and figures."""
    yield from ((kind, name) for kind in ("claim", "analysis", "figure") for name in registry.built_in(kind))


def by_run(config: Config, run: Run) -> Used:
    """What a training run is made of."""
    yield from by_model(config.models[run.model])
    yield from by_defense(config.defenses[run.defense])


def by_run_of(config: Config, where: Checkpoint | Block | Sent) -> Used:
    """What the training run behind a checkpoint or an attack job is made of."""
    yield from by_run(config, where.run)


def by_block(config: Config, block: Block) -> Used:
    """What an attack job is made of."""
    yield from by_run(config, block.run)
    yield from by_attack(config.attacks[block.attack])


def by_config(config: Config) -> Used:
    """What all sections of a config are made of, each entry once."""
    yield from dict.fromkeys(_by_sections(config))


def _by_sections(config: Config) -> Iterator[tuple[str, str]]:
    yield from (("dataset", name) for entry in config.grid for name in entry.datasets)
    for model in config.models.values():
        yield from by_model(model)
    for defense in config.defenses.values():
        yield from by_defense(defense)
    for attack in config.attacks.values():
        yield from by_attack(attack)
    yield from by_metrics()


def told_of(config: Config) -> list[dict]:
    """What `registry.tell` takes for the entries that a config uses and that are not built in."""
    return registry.told_of(
        one for one in by_config(config) if one[0] in registry.ROOMS and one[1] in registry.entries(one[0])
    )
