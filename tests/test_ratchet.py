"""The command line as its users meet it: results, JSON, exit statuses, and what is said of mistakes."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

import ratchet
from commands import frame
from store.formats.known import FORMATS

PAIRS = [
    {
        "prompt": [{"role": "user", "content": f"Where is parcel {i}?"}],
        "chosen": [{"role": "assistant", "content": f"On Monday. {i}"}],
        "rejected": [{"role": "assistant", "content": f"Please let me tell you that it comes on Monday. {i}"}],
    }
    for i in range(40)
]


class Ran(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The last line of standard output."""
        return dict(json.loads(self.out.splitlines()[-1]))


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_folder: Path
) -> Callable[..., Ran]:
    """Runs `ratchet WORDS` in an empty folder, on the tiny model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RATCHET_MODEL", str(tiny_folder))

    def ratchet_(*words: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["ratchet", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            ratchet.main()
        captured = capsys.readouterr()
        return Ran(int(stopped.value.code or 0), captured.out, captured.err)

    return ratchet_


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    return file


def test_in_and_out_again(run: Callable[..., Ran], pairs: Path, tmp_path: Path) -> None:
    first = run("import", pairs, "--json")
    assert first.status == 0
    assert {key: first.json[key] for key in ("imported", "skipped", "duplicates")} == {
        "imported": 40,
        "skipped": 0,
        "duplicates": 0,
    }
    assert run("import", pairs, "--json").json["duplicates"] == 40
    out = tmp_path / "out.jsonl"
    exported = run("export", out, "--json").json
    expected = {"rows": 40, "path": str(out), "as": "preference", "format": "jsonl", "left_out": {}, "scrubbed": {}}
    assert {key: exported[key] for key in expected} == expected
    assert exported["card"] == str(tmp_path / "README.md")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(row["chosen"][0]["content"] for row in rows) == sorted(p["chosen"][0]["content"] for p in PAIRS)


def test_an_export_says_what_it_scrubbed_and_left_out(run: Callable[..., Ran], tmp_path: Path) -> None:
    rows = [{"prompt": "Hi", "completion": f"Mail to a{i}@example.com.", "label": True} for i in range(3)]
    (tmp_path / "in.json").write_text(json.dumps(rows))
    run("import", "in.json")
    done = run("export", "out.parquet", "--as", "unpaired", "--license", "cc-by-4.0")
    assert (done.status, done.out.splitlines()) == (
        0,
        [
            "3 rows written to out.parquet as unpaired; the card is README.md.",
            "scrubbed from completion: 3 email",
        ],
    )
    assert 'license: "cc-by-4.0"' in (tmp_path / "README.md").read_text()
    assert run("export", "out.jsonl", "--as", "unpaired", "--no-scrub", "--json").json["scrubbed"] is None
    assert "a2@example.com" in (tmp_path / "out.jsonl").read_text()
    assert run("export", "out.txt").status == 2
    assert run("export", "out.txt", "--format", "jsonl").status == 0


def test_fit_report_score(run: Callable[..., Ran], pairs: Path) -> None:
    assert run("reward", "report").status == 1  # none fitted yet
    run("import", pairs)
    assert run("reward", "fit").status == 0
    report = run("reward", "report", "--json").json
    assert {"accuracy", "low", "high", "n", "ece", "by_kind"} <= set(report)
    page = Path("ratchet-data", "reward", "report.html")
    assert (report["html"], report["json"]) == (str(page), str(page.with_suffix(".json")))
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))["dataset"] == report["dataset"]
    assert f"The page is {Path('new', 'a.html')}" in run("reward", "report", "--html", "new/a.html").out
    assert Path("new", "a.json").is_file()
    assert run("reward", "report", "--html", "new").status == run("reward", "report", "--html", "a.json").status == 2
    scores = run("reward", "score", "--prompt", "Hi", "--answer", "a", "--answer", "b", "--json").json["scores"]
    assert [row["answer"] for row in scores] == ["a", "b"]


def test_a_score_shows_the_part_of_each_rule_that_stands_in_the_settings_now(
    run: Callable[..., Ran], pairs: Path, tmp_path: Path
) -> None:
    run("import", pairs)
    assert run("reward", "fit").status == 0  # without rules
    (tmp_path / "ratchet.toml").write_text('[[reward.rules]]\nkind = "length"\nmaximum = 9\nweight = 2.0\n')
    words = ("reward", "score", "--prompt", "Hi", "--answer", "a", "--answer", "a " * 40)
    short, long = run(*words, "--json").json["scores"]
    assert (short["rules"], long["rules"]) == ({"length": 0.0}, {"length": -2.0})
    assert long["value"] == pytest.approx(long["heads"] - 2.0)
    assert "length -2.00" in run(*words).out
    (tmp_path / "ratchet.toml").write_text('[[reward.rules]]\nkind = ["length"]\n')
    refused = run(*words, "--json")
    assert (refused.status, refused.json["hint"][:12]) == (2, "Did you mean")


def test_versions_of_a_new_store(run: Callable[..., Ran], pairs: Path) -> None:
    assert run("versions").status == 3
    run("import", pairs)
    run("reward", "fit")
    listed = run("versions", "--json").json
    assert listed["serving"] == 0
    assert [(row["id"], row["parent"], row["status"]) for row in listed["versions"]] == [(0, None, "base")]
    assert run("rollback").status == 3
    assert run("promote", 7).status == 1


def test_an_update_without_ratings_has_nothing_to_do(run: Callable[..., Ran]) -> None:
    for words in (["update"], ["update", "--force"]):
        done = run(*words, "--json")
        assert done.status == 3
        assert "no ratings" in done.json["error"]
        assert done.json["hint"]


def test_the_algorithm_of_an_update_comes_from_the_flag_or_the_settings(
    run: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pairs.json").write_text(json.dumps(PAIRS))
    run("import", "pairs.json")
    asked = run("update", "--force", "--algorithm", "sft", "--json")
    assert asked.status == 3
    assert "people corrected" in asked.json["error"]
    monkeypatch.setenv("RATCHET_UPDATE_ALGORITHM", "sft")
    assert run("update", "--force", "--json").json["error"] == asked.json["error"]
    assert run("update", "--algorithm", "no such").status == 2


def test_a_file_cut_in_the_middle_leaves_nothing_behind(run: Callable[..., Ran], tmp_path: Path) -> None:
    whole = json.dumps(PAIRS)
    (tmp_path / "cut.json").write_text(whole[: len(whole) // 2])
    done = run("import", "cut.json", "--json")
    assert done.status == 1
    assert "cut.json" in done.json["error"]
    assert run("export", "out.jsonl", "--json").json["rows"] == 0


def test_an_unknown_format_is_named_with_those_that_are_known(run: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "odd.jsonl").write_text('{"a": 1}\n')
    assert run("import", "odd.jsonl").status == 1
    done = run("import", "odd.jsonl", "--format", "no such", "--json")
    assert done.status != 0
    assert "preference" in done.json["error"] + done.json["hint"]


def test_the_help_and_the_page_on_formats_name_each_of_them() -> None:
    page = (Path(__file__).parents[1] / "docs/formats.md").read_text(encoding="utf-8")
    names = [each.NAME for each in FORMATS]
    assert [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")] == names
    assert set(names) <= set(re.split(r"[,\s]+", CliRunner().invoke(ratchet.cli, ["import", "--help"]).output))


def test_an_import_tells_how_far_it_is_and_what_it_left_out(run: Callable[..., Ran], pairs: Path) -> None:
    with pairs.open("a") as file:
        file.write('{"prompt": "Q", "chosen": "a"}\n')
    refused = run("import", pairs, "--json")
    assert refused.status == 1
    assert "line 41: rejected is missing" in refused.json["error"]
    done = run("import", pairs, "--skip-bad", "--json")
    assert (done.json["imported"], done.json["skipped"], done.json["format"]) == (40, 1, "trl-preference")
    assert ["line 41" in problem for problem in done.json["problems"]] == [True]
    assert "pairs.jsonl, 41 rows" in done.err


def test_an_unknown_key_is_refused_before_anything_is_made(run: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "ratchet.toml").write_text("[chat]\nprot = 80\n")
    done = run("versions", "--json")
    assert done.status == 2
    assert done.json["hint"] == "Did you mean chat.port?"
    assert not (tmp_path / "ratchet-data").exists()


def test_a_missing_model_and_a_taken_port_are_said_so(run: Callable[..., Ran]) -> None:
    missing = run("evaluate", "--model", "./nowhere", "--json")
    assert missing.status == 1
    assert "nowhere" in missing.json["error"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--port", port, "--json")
        assert done.status == 1
        assert str(port) in done.json["error"]
        assert "--port" in done.json["hint"]


def test_wrong_usage_is_status_2_in_json_too(run: Callable[..., Ran]) -> None:
    assert run("promote", "not a number", "--json").status == 2
    assert run("no-such-command").status == 2
    assert run("simulate", "--persona", "terse", "--json").status == 2
    assert "error" in run("simulate", "--persona", "nobody", "--ratings", 3, "--json").json
    refused = run("simulate", "--persona", "terse", "--ratings", 3, "--kinds", "pair=0.5,thum=0.5", "--json")
    assert (refused.status, refused.json["hint"][:19]) == (2, "Did you mean thumb?")


def test_a_traceback_is_shown_only_on_demand(run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(frame, "load_settings", fails)
    plain, loud = run("versions"), run("versions", "--debug")
    assert (plain.status, loud.status) == (1, 1)
    assert "ZeroDivisionError: by nought" in plain.err
    assert "Traceback" not in plain.err
    assert "Traceback" in loud.err


def test_a_person_is_shown_handed_out_and_erased(run: Callable[..., Ran], pairs: Path, tmp_path: Path) -> None:
    assert run("import", pairs).status == 0
    assert [each["id"] for each in run("person", "list", "--json").json["people"]] == ["import"]
    assert run("person", "show", "import", "--json").json["ratings"] == {"pair": 40}
    handed = run("person", "export", "import", tmp_path / "all.json", "--json")
    assert (handed.status, handed.json["generations"]) == (0, 80)
    assert "On Monday. 39" in (tmp_path / "all.json").read_text()
    raters = run("person", "raters", "--json").json
    assert raters["raters"][0]["left"] == {"count": 40, "of": 40}
    assert "nothing rated twice" in run("person", "raters").out
    assert run("person", "consent", "import", "no", "--json").json == {"id": "import", "consent": False}
    assert run("export", tmp_path / "out.jsonl", "--json").json["rows"] == 0
    done = run("person", "erase", "import", "--yes", "--json").json
    assert (done["generations"], done["ratings"], done["versions"]) == (80, 40, [])
    assert b"On Monday" not in (tmp_path / "ratchet-data" / "ratchet.db").read_bytes()
    assert "erased" in run("person", "list").out
    missing = run("person", "show", "nobody", "--json")
    assert (missing.status, missing.json["error"]) == (1, "There is no person nobody.")


def test_a_key_is_shown_once_listed_without_its_secret_and_revoked(run: Callable[..., Ran], tmp_path: Path) -> None:
    assert run("key", "list").out == "No keys yet.\n"
    made = run("key", "add", "laptop", "--person", "ann", "--json").json
    assert set(made) == {"key", "id", "name", "scopes", "person"}
    assert re.fullmatch(r"rk-[A-Za-z0-9_-]{43}", made["key"])
    assert (made["name"], made["scopes"]) == ("laptop", ["chat", "rate"])
    assert run("person", "show", "ann", "--json").json["id"] == made["person"]
    said = run("key", "add", "figures", "--scope", "operate").out
    secret, told = said.splitlines()
    assert secret.startswith("rk-")
    assert "ratchet key revoke" in told

    listed, lines = run("key", "list", "--json"), run("key", "list")
    assert [(row["name"], row["scopes"], row["person"]) for row in listed.json["keys"]] == [
        ("laptop", ["chat", "rate"], made["person"]),
        ("figures", ["operate"], None),
    ]
    assert {row["revoked"] for row in listed.json["keys"]} == {None}
    assert [row["prefix"] for row in listed.json["keys"]] == [made["key"][:9], secret[:9]]
    for hidden in (made["key"], secret, "digest"):
        assert hidden not in listed.out + lines.out
    assert made["key"].encode() not in (tmp_path / "ratchet-data" / "ratchet.db").read_bytes()
    assert f"for {made['person']}" in lines.out
    assert "used never" in lines.out

    assert run("person", "show", "ann", "--json").json["keys"] == [made["id"]]
    assert run("person", "export", "ann", "all.json", "--json").json["keys"] == 1
    ended = run("key", "revoke", made["id"], "--json").json
    assert ended["revoked"]
    assert run("key", "revoke", made["id"], "--json").json == ended
    assert "revoked 2" in run("key", "list").out
    assert run("person", "show", "ann", "--json").json["keys"] == []


def test_what_is_no_key_is_neither_made_nor_revoked(run: Callable[..., Ran]) -> None:
    assert run("key", "add", "x", "--scope", "admin", "--json").status == 2
    assert run("key", "add", " ", "--json").status == 1
    missing = run("key", "revoke", "nothing", "--json")
    assert (missing.status, missing.json["error"]) == (1, "There is no key nothing.")
    assert "ratchet key list" in missing.json["hint"]
    assert run("key", "list", "--json").json == {"keys": []}


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_command_keeps_to_the_database_it_is_given(
    run: Callable[..., Ran],
    pairs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    postgres_url: str,
    scheme: str,
) -> None:
    monkeypatch.setenv("RATCHET_DATABASE_URL", postgres_url.replace("postgresql", scheme, 1))
    assert run("import", pairs, "--json").json["imported"] == 40
    assert run("import", pairs, "--json").json["duplicates"] == 40
    assert run("reward", "fit").status == 0
    assert run("versions", "--json").json["serving"] == 0
    assert run("export", tmp_path / "out.jsonl", "--json").json["rows"] == 40
    assert run("promote", 7).status == 1
    assert run("rollback").status == 3
    assert not (tmp_path / "ratchet-data" / "ratchet.db").exists()


def test_a_store_moves_from_one_database_to_the_other_by_its_backup(
    run: Callable[..., Ran], pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    run("import", pairs)
    kept = run("backup", "store.tar", "--json").json
    assert (kept["counts"]["ratings"], kept["missing"]) == (40, [])
    assert run("restore", "store.tar", "--json").status == 1
    assert run("restore", "store.tar", "--replace", "--json").json["counts"]["ratings"] == 40
    monkeypatch.setenv("RATCHET_DATABASE_URL", postgres_url)
    assert run("restore", "store.tar", "--home", "other", "--json").json["counts"]["ratings"] == 40
    assert run("export", "out.jsonl", "--home", "other", "--json").json["rows"] == 40
    assert run("import", pairs, "--home", "other", "--json").json["duplicates"] == 40


def test_serving_from_elsewhere_loads_no_weights_and_ends_where_no_server_is(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setattr("lm.loading.AutoModelForCausalLM", None)  # whoever loads weights fails
    for kind in ("openai", "vllm"):
        monkeypatch.setenv("RATCHET_BACKEND_KIND", kind)
        monkeypatch.setenv("RATCHET_BACKEND_URL", url)
        monkeypatch.setenv("RATCHET_BACKEND_KEY", "sk-secret")
        ended = run("serve", "--port", 0)
        assert ended.status == 1
        assert url in ended.err
        assert "backend.kind = engine" in ended.err
        assert "sk-secret" not in ended.out + ended.err


@pytest.mark.parametrize("name", ["update_tool_turn.jsonl", "update_long_system.jsonl"])
def test_a_row_that_the_model_cannot_read_is_named_and_the_others_are_learned_from(
    run: Callable[..., Ran], shared: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("RATCHET_MODEL", "starter")
    assert run("import", shared / "cases" / name).status == 0
    fitted = run("reward", "fit", "--json")
    assert fitted.status == 0, fitted.err
    (left_out,) = fitted.json["left_out"]
    assert len(left_out["ratings"]) == len(set(left_out["generations"])) == 1
    (number,) = left_out["ratings"]
    shown = run("rating", "show", number, "--json").json
    assert (shown["conversation"], shown["present"]) == (left_out["conversation"], True)
    assert run("rating", "drop", number, "--json").json["rating"] == number
    assert run("reward", "fit", "--json").json["left_out"][0]["ratings"] == []  # its prompt stays, and is unreadable


def test_there_is_no_update_to_discard_and_no_rating_to_show(run: Callable[..., Ran]) -> None:
    assert run("update", "--discard", "--json").status == 3
    assert run("rating", "show", 7).status == run("rating", "drop", 7).status == 1
