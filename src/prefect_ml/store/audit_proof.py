"""Whether an approved request may move its alias by what the audit log says, whatever stands in its own row by now.

A row of `promotion_requests` is one UPDATE away from being approved; a row of the log is part of a chain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, RowMapping, Select, select

from prefect_ml.entities import RequestStatus
from prefect_ml.errors import TamperedError
from prefect_ml.store.audit import AUDIT_HEAD, hash_of
from prefect_ml.store.audit_check import compare, decisions_of, requests_of
from prefect_ml.store.audit_findings import ADVICE, tampered
from prefect_ml.store.audit_told import Entry, Told
from prefect_ml.store.canonical import digest
from prefect_ml.store.policy_content import read_policy
from prefect_ml.store.registry_names import person
from prefect_ml.store.registry_tables import aliases, audit, policies, promotion_decisions, promotion_requests
from prefect_ml.store.requests import alias_subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from prefect_ml.entities import Policy

_PAGE = 200
_NO_END = 2**63 - 1


def refuse_unproven(connection: Connection, row: Row[Any], status: RequestStatus = RequestStatus.APPROVED) -> None:
    """Refuse to rest on a request that the audit log does not say was made, and approved, like this.

    Costs as many rows of the log as were written about the alias since the request was made.

    Args:
        connection: of the transaction that moves the alias.
        row: of the request.
        status: that it has to have by the log: APPROVED to be carried out, PROMOTED when it was.

    Raises:
        TamperedError: the request, its evidence, its policy or the log was changed by other means.
    """
    entries = list(_entries(connection, row))
    made = entries[-1].request() if entries else None
    if made is None:
        raise _unproven(row, "the log does not tell that it was made")
    saved = _saved(connection, row)
    if not _is_chained(connection, [entry.row for entry in (*entries, *saved)]):
        raise _unproven(row, "a row of the log about it, or about its policy, was changed")
    decided = [told for entry in entries if (told := entry.decision())]
    compare(promotion_requests, [made], requests_of(connection, [made]))
    compare(promotion_decisions, decided, decisions_of(connection, decided))
    last = next(turn for entry in entries if (turn := entry.turn()))
    if last.after != status:
        raise _unproven(row, f"the log tells last that it is {last.after}")
    rules = _policy(connection, row, saved)
    approving = _approving(decided, rules, row.requester)
    if len(approving) < rules.approvals:
        counted = f"{len(approving)} approvals that count, and {rules.approvals} are needed"
        raise _unproven(row, f"the log tells of {counted}")


def refuse_unmoved(connection: Connection, name: str, current: Row[Any]) -> None:
    """Refuse to take an alias back from where the audit log does not say that it is.

    Args:
        connection: of the transaction that moves the alias.
        name: of the model.
        current: the row of the alias.

    Raises:
        TamperedError: the alias, or the log, was changed by other means.
    """
    subject = alias_subject(name, current.alias)
    about = select(audit).where(audit.c.subject == subject).order_by(audit.c.sequence.desc())
    moves = ((row, told) for row in _pages(connection, about) if (told := Entry(row).move()))
    row, last = next(moves, (None, None))
    key = (name, current.alias)
    if row is None or last is None:
        raise tampered(None, aliases, key, ("version", current.version, None))
    if not _is_chained(connection, [row]):
        raise TamperedError(
            f"The alias {', '.join(key)} stays where it is: row {last.sequence} of the audit log was changed. {ADVICE}"
        )
    for column, told in {**last.columns, "generation": last.key[-1]}.items():
        found = getattr(current, column, told)
        if found != told:
            raise tampered(last.sequence, aliases, key, (column, found, told))


def _entries(connection: Connection, row: Row[Any]) -> Iterator[Entry]:
    """What the log tells of the request, newest first, down to that it was made."""
    of = audit.c
    query = select(audit).where(of.subject == alias_subject(row.name, row.alias)).order_by(of.sequence.desc())
    for each in _pages(connection, query):
        if row.request_id in each["after"] and (entry := Entry(each)).after.get("request") == row.request_id:
            yield entry
            if entry.request() is not None:
                return


def _pages(connection: Connection, newest_first: Select[Any]) -> Iterator[RowMapping]:
    before = _NO_END
    while page := connection.execute(newest_first.where(audit.c.sequence < before).limit(_PAGE)).mappings().all():
        yield from page
        before = page[-1]["sequence"]


def _saved(connection: Connection, row: Row[Any]) -> list[Entry]:
    """What the log tells of the request's policy, newest first, down to the version that it was made under."""
    about = select(audit).where(audit.c.subject == f"policies:/{row.policy}").order_by(audit.c.sequence.desc())
    known: list[Entry] = []
    for each in _pages(connection, about):
        known.append(Entry(each))
        if known[-1].after["version"] == row.policy_version:
            return known
    raise _unproven(row, f"the log does not know version {row.policy_version} of the policy {row.policy!r}")


def _policy(connection: Connection, row: Row[Any], newest_first: Sequence[Entry]) -> Policy:
    """The policy that the request was made under, as the log knows it, and none after it that the log does not know."""
    kept = select(policies).where(policies.c.name == row.policy, policies.c.version >= row.policy_version)
    found = connection.execute(kept.order_by(policies.c.version.desc())).all()
    if [each.version for each in found] != [entry.after["version"] for entry in newest_first]:
        raise _unproven(row, f"the log knows other versions of the policy {row.policy!r}")
    for each, entry in zip(found, newest_first, strict=True):
        if told := entry.policy():
            compare(policies, [told], [(told.key, {**each._mapping, "digest": digest(each.content)})])  # noqa: SLF001
    return read_policy(*found[-1])


def _approving(newest_first: Iterable[Told], rules: Policy, requester: str) -> set[str]:
    """The people whose last word approves, among those who may decide."""
    said: dict[str, bool] = {}
    for told in newest_first:
        who = told.columns["actor"]
        own = rules.four_eyes and person(who) == person(requester)
        if not own and (not rules.approvers or who in rules.approvers):
            said.setdefault(person(who), told.columns["approve"])
    return {who for who, approves in said.items() if approves}


def _is_chained(connection: Connection, rows: Sequence[Mapping[Any, Any]]) -> bool:
    """Whether each row has its hash, and the row after it builds on that."""
    after = audit.c.sequence.in_([row["sequence"] + 1 for row in rows])
    following = {row.sequence: row.previous_hash for row in connection.execute(select(audit).where(after))}
    head = connection.execute(AUDIT_HEAD).one()
    following[head.sequence + 1] = head.hash
    return all(row["hash"] == hash_of(row) == following.get(row["sequence"] + 1) for row in rows)


def _unproven(row: Row[Any], why: str) -> TamperedError:
    return TamperedError(
        f"The request {row.request_id} moves nothing: by the audit log it is not approved as it stands, since {why}. "
        f"{ADVICE}"
    )
