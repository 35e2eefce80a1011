"""The schema and the tables of config/README.md are what the settings say."""

from pathlib import Path

from fldrep.cli.schema import BEGIN, END, GENERATED, schema_command
from fldrep.config.docs import config_tables
from fldrep.config.presets import ATTACK_PRESETS, ATTACK_SOURCES
from fldrep.config.section import Section
from fldrep.config.whole import Config

ROOT = Path(__file__).parents[2]


def test_stored_schema_and_documentation_have_not_drifted(tmp_path):
    stored_schema, stored_readme = ROOT / "workflow/schemas/config.schema.json", ROOT / "config/README.md"
    readme = tmp_path / "README.md"
    readme.write_text(stored_readme.read_text())
    stored_attacks, attacks = ROOT / "docs/attacks.md", tmp_path / "attacks.md"
    attacks.write_text(stored_attacks.read_text())
    schema_command(schema=tmp_path / "schemas/config.schema.json", readme=readme, attacks=attacks)
    assert (tmp_path / "schemas/config.schema.json").read_text() == stored_schema.read_text(), "run: make schema"
    assert readme.read_text() == stored_readme.read_text(), "run: make schema"
    assert attacks.read_text() == stored_attacks.read_text(), "run: make schema"


def test_writing_twice_changes_nothing_and_keeps_what_a_person_wrote(tmp_path):
    readme = tmp_path / "README.md"
    attacks = tmp_path / "attacks.md"
    readme.write_text("# My words\n\n")
    attacks.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    for _ in range(2):
        schema_command(schema=tmp_path / "schema.json", readme=readme, attacks=attacks)
    assert attacks.read_text().startswith("before\n")
    assert attacks.read_text().endswith("\nafter\n")
    assert attacks.read_text().count("| `gs-masked` |") == 1
    assert readme.read_text().startswith("# My words\n\n")
    assert readme.read_text().count(GENERATED) == 1


def test_every_key_that_a_user_may_give_has_a_row():
    tables = config_tables()
    own = [kind for kind in Section.__subclasses__() if kind.__module__.startswith("fldrep.")]
    documented = [Config, *(kind for kind in own if kind.__name__.endswith("Settings"))]
    for kind in documented:
        for name, field in kind.model_fields.items():
            assert f"| `{name}` | {field.description} |" in tables, f"{kind.__name__}.{name}"


def test_every_built_in_attack_has_a_row_with_its_source():
    rows = [row for row in config_tables().splitlines() if row.startswith("| `")]
    for name in ATTACK_PRESETS:
        assert any(row.startswith(f"| `{name}` |") and row.endswith(f"| {ATTACK_SOURCES[name]} |") for row in rows)
