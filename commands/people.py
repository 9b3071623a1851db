"""What the store holds of a person: see it, hand it out, erase it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from commands.frame import command, opened, people
from console import Outcome, Progress
from problems import Problem
from settings import Settings


@command(people, "list")
def person_list(settings: Settings, progress: Progress) -> Outcome:
    """List the people in the store."""
    from store.people import list_people

    with opened(settings) as store, store.session(reading=True) as session:
        rows = [
            {"id": each.id, "name": each.name, "consent": each.consent, "erased": each.erased is not None}
            for each in list_people(session)
        ]
    text = [f"{row['id']:<24}  {'erased' if row['erased'] else row['name'] or '-'}" for row in rows]
    return Outcome({"people": rows}, "\n".join(text) or "Nobody yet.")


@command(people, "show")
@click.argument("person")
def person_show(settings: Settings, progress: Progress, person: str) -> Outcome:
    """Say how much the store holds of PERSON (an id or a name), and which versions learned from it."""
    from store.people import find_person, holdings

    with opened(settings) as store, store.session(reading=True) as session:
        held = asdict(holdings(session, find_person(session, person).id))
    return Outcome(held, "\n".join(f"{key:<14} {value}" for key, value in held.items()))


@command(people, "export")
@click.argument("person")
@click.argument("out", type=click.Path(path_type=Path))
def person_export(settings: Settings, progress: Progress, person: str, out: Path) -> Outcome:
    """Write all that the store holds of PERSON to OUT, as JSON."""
    from store.people import everything_of, find_person

    with opened(settings) as store, store.session(reading=True) as session:
        everything = everything_of(session, find_person(session, person).id)
    try:
        out.write_text(json.dumps(everything, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise Problem(f"{out} cannot be written: {error.strerror}.", hint="Choose another place.") from None
    counts = {key: len(rows) for key, rows in everything.items() if isinstance(rows, list)}
    return Outcome({"path": out} | counts, f"Written to {out}: " + ", ".join(f"{n} {key}" for key, n in counts.items()))


@command(people, "consent")
@click.argument("person")
@click.argument("answer", type=click.Choice(["yes", "no"]))
def person_consent(settings: Settings, progress: Progress, person: str, answer: str) -> Outcome:
    """Let the words and ratings of PERSON into training, or keep them out of all later datasets."""
    from store.conversations import set_consent
    from store.people import find_person

    with opened(settings) as store, store.session() as session:
        found = set_consent(session, find_person(session, person).id, answer == "yes")
        data = {"id": found.id, "consent": found.consent}
    return Outcome(data, f"{data['id']}: may be learned from: {answer}.")


@command(people, "erase")
@click.argument("person")
@click.option("--yes", is_flag=True, help="Do not ask. It cannot be undone.")
def person_erase(settings: Settings, progress: Progress, person: str, yes: bool) -> Outcome:
    """Erase the words and ratings of PERSON, and flag the versions that learned from them."""
    from store.people import erase, find_person

    with opened(settings) as store:
        with store.session(reading=True) as session:
            found = find_person(session, person)
        if not yes:
            click.confirm(f"Erase {found.id} ({found.name or 'no name'})? It cannot be undone.", abort=True, err=True)
        done = asdict(erase(store, found.id))
    flagged = ", ".join(map(str, done["versions"])) or "none"
    text = (
        f"Erased {done['id']}: {done['messages']} messages, {done['generations']} answers, {done['ratings']} ratings, "
        f"{done['dataset_rows']} rows of earlier datasets. Versions that learned from them: {flagged}."
    )
    return Outcome(done, text)


@command(people, "raters")
def person_raters(settings: Settings, progress: Progress) -> Outcome:
    """Say of everybody who rated how much, how fast and how steadily, and how they agree with the others."""
    from store.raters import agreement, raters

    with opened(settings) as store, store.session(reading=True) as session:
        found = raters(session)
        alpha = agreement(session)
    rows = [asdict(each) for each in found]
    text = [f"{'person':<24} {'ratings':>7} {'liked':>6} {'left':>6} {'steady':>6} {'agree':>6} {'a minute':>8}"]
    for each in found:
        shares = (each.liked, each.left, each.steady, each.agreement)
        said = " ".join(f"{'-' if share.value is None else f'{share.value:.2f}':>6}" for share in shares)
        text.append(f"{each.person[:24]:<24} {sum(each.ratings.values()):>7} {said} {each.fastest:>8}")
    known = {kind: value for kind, value in alpha.items() if value is not None}
    text.append(
        "Krippendorff's alpha: " + (", ".join(f"{k} {v:.2f}" for k, v in known.items()) or "nothing rated twice")
    )
    return Outcome({"raters": rows, "alpha": alpha}, "\n".join(text))
