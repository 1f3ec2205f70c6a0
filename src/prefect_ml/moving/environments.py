"""Copying model versions from one environment to another, such as from staging to production."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_ml.entities import ModelVersion, RequestStatus
from prefect_ml.errors import AlreadyExistsError, CorruptArtifactError, InvalidInputError, NotFoundError
from prefect_ml.models.uri import ModelUri, UriKind
from prefect_ml.moving.evidence import evidence_of
from prefect_ml.moving.picked import PickedOrigin
from prefect_ml.moving.transfer import take_over
from prefect_ml.registry.resolve import fetch, resolve
from prefect_ml.store.places import open_place

if TYPE_CHECKING:
    from prefect_ml.entities import PromotionRequest
    from prefect_ml.moving.report import Report
    from prefect_ml.store.contract import Store

_OPEN = (RequestStatus.PENDING, RequestStatus.APPROVED)


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did.

    Attributes:
        report: of all that was moved.
        versions: those that were asked for, as they are at the target.
        digests: of their files, computed from the bytes at the target, by version.
        evidence: how many versions came with new evidence of the origin.
    """

    report: Report
    versions: Sequence[ModelVersion]
    digests: Mapping[int, str]
    evidence: int

    def document(self) -> dict[str, Any]:
        """All of it as plain values."""
        asked = [
            {"name": each.name, "version": each.version, "digest": self.digests[each.version]} for each in self.versions
        ]
        return {**self.report.document(), "versions": asked, "evidence": self.evidence}


def copy_versions(
    origin: Store, target: Store, model_uri: str, *, actor: str = "", aliases: bool = False, threads: int = 8
) -> Copied:
    """Copy a version, or all of a model, with lineage and files, verify it, and keep what the origin says of it.

    It can be broken off at any point and called again: what is there stays, what is missing comes.

    Args:
        origin: where the versions are.
        target: where they come to, under the same numbers.
        model_uri: `models:/<name>/<version>`, `models:/<name>@<alias>`, the like, or `models:/<name>` for all versions.
        actor: who copies, for the audit log of the target.
        aliases: whether unprotected aliases and stages come too; else they are decided at the target.
        threads: runs that are carried at once.

    Raises:
        InvalidInputError: it names no registered model, or origin and target are one.
        NotFoundError: there is no such version.
        AlreadyExistsError: the target has another model under that number.
        CorruptArtifactError: the files at the target are not those of the origin.
        PrefectMLError: a version did not come, for the reason in the message.
        StoreUnavailableError: origin or target are away; call it again.
    """
    if origin.url == target.url:
        raise InvalidInputError(f"Origin and target are both {origin.url}; name two different servers.")
    name, numbers = _asked(origin, model_uri)
    digests = {number: _digest_there(origin, name, number) for number in numbers}
    for number in numbers:
        _refuse_another(target, name, number, digests[number])
    picked = PickedOrigin(origin, partial(open_place, origin), {name: numbers}, aliases=aliases)
    report = take_over(picked, target, threads=threads)
    for number in numbers:
        _verify(target, report, name, number, digests[number])
    added = 0
    for (of, number), there in sorted(picked.versions.items()):
        if _is_same(target, there):
            added += target.take_over_evidence(of, number, origin.url, evidence_of(origin, of, number), actor=actor)
    return Copied(report, [target.get_model_version(name, number) for number in numbers], digests, added)


def asked_already(target: Store, version: ModelVersion, alias: str) -> PromotionRequest | None:
    """The open request for an alias that is about the same files of a version, when there is one."""
    for request in target.list_requests(name=version.name, max_results=1000):
        same = (request.version, request.alias, request.artifact_digest)
        if same == (version.version, alias, version.artifact_digest) and request.status in _OPEN:
            return request
    return None


def holds(target: Store, version: ModelVersion, alias: str) -> bool:
    """Whether an alias is on a version already."""
    try:
        return target.get_alias(version.name, alias).version == version.version
    except NotFoundError:
        return False


def _asked(origin: Store, model_uri: str) -> tuple[str, list[int]]:
    """The name and the numbers that a URI means in the origin."""
    name = model_uri.removeprefix("models:/")
    if name != model_uri and "/" not in name and "@" not in name and not name.startswith("m-"):
        numbers = [version.version for version in origin.get_moved_model(name).versions]
        if not numbers:
            raise NotFoundError(f"The model {name!r} has no versions in {origin.url}; there is nothing to copy.")
        return name, numbers
    if ModelUri.parse(model_uri).kind in (UriKind.RUN, UriKind.FOLDER, UriKind.LOGGED_MODEL):
        raise InvalidInputError("Only registered models are copied; write models:/<name>/<version>.")
    resolved = resolve(origin, model_uri)
    return str(resolved.name), [int(resolved.version or 0)]


def _digest_there(origin: Store, name: str, number: int) -> str:
    """The digest that the origin recorded; of its files, when it recorded none."""
    recorded = origin.get_model_version(name, number).artifact_digest
    return recorded or _computed(origin, name, number)


def _computed(store: Store, name: str, number: int) -> str:
    """The digest of a version's files as they are kept now; neither a cache nor a recorded digest is asked."""
    resolved = resolve(store, f"models:/{name}/{number}")
    with tempfile.TemporaryDirectory(prefix="prefect-ml-") as scratch:
        return f"sha256:{fetch(dataclasses.replace(resolved, digest=''), Path(scratch)).name}"


def _refuse_another(target: Store, name: str, number: int, digest: str) -> None:
    """Before anything is carried: a number that is taken by other files stays theirs."""
    if not _is_there(target, name, number):
        return
    recorded = target.get_model_version(name, number).artifact_digest
    if recorded not in ("", digest):
        raise AlreadyExistsError(
            f"Version {number} of {name!r} is another model at {target.url}: its files have the digest {recorded}, "
            f"not {digest}. Register the model again at the origin, so that it gets a number that is free there."
        )


def _verify(target: Store, report: Report, name: str, number: int, digest: str) -> None:
    """Refuse a version that did not come, or whose files at the target are not those of the origin."""
    if not _is_there(target, name, number):
        why = " ".join([*report.failures, *report.conflicts]) or "the report says no more"
        raise NotFoundError(f"Version {number} of {name!r} did not come to {target.url}: {why}")
    found = _computed(target, name, number)
    recorded = target.record_digest(name, number, found)
    if not found == recorded.artifact_digest == digest:
        raise CorruptArtifactError(
            f"The files of version {number} of {name!r} at {target.url} have the digest {found}, but the origin's have "
            f"{digest}. Nothing was asked for; restore the files at the origin, or delete the copy, and copy it again."
        )


def _is_same(target: Store, there: ModelVersion) -> bool:
    """Whether the target has this version of the origin, and no other one under its number."""
    if not _is_there(target, there.name, there.version):
        return False
    here = target.get_model_version(there.name, there.version)
    if there.artifact_digest and here.artifact_digest:
        return there.artifact_digest == here.artifact_digest
    return here.creation_timestamp == there.creation_timestamp


def _is_there(store: Store, name: str, number: int) -> bool:
    try:
        store.get_model_version(name, number)
    except NotFoundError:
        return False
    return True
