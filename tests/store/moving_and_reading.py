"""Many processes move and read two aliases, one protected and one not, and write down what they were answered.

    python moving_and_reading.py STORE_URL PROCESSES SECONDS FOLDER

The processes are forked from this one, which has imported everything; each leaves a file of calls in the folder.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import sys
import time
import traceback
from pathlib import Path

from prefect_ml.entities import Decision, Policy
from prefect_ml.errors import NotFoundError, PromotionError
from prefect_ml.store import open_store

MODEL, OPEN, GUARDED = "churn", "open", "guarded"
VERSIONS = range(1, 6)
READS_OF_TEN = 5
# Wishes of each process, whatever its time.
AT_LEAST = 4


def digest(version):
    return f"sha256:{version:064}"


def prepare(store):
    store.create_registered_model(MODEL)
    for version in VERSIONS:
        store.create_model_version(MODEL, f"s3://models/{version}", artifact_digest=digest(version))
    store.save_policy(Policy("guard", 0, MODEL, aliases=(GUARDED,), approvals=1, four_eyes=True), actor="ops")


@dataclasses.dataclass
class Client:
    """One process; its calls are kept with what the clock said before and after each."""

    store: object
    number: int
    calls: list = dataclasses.field(default_factory=list)

    def run(self, until):
        chance = random.Random(self.number)  # noqa: S311  the same wishes in every run
        wishes = 0
        while wishes < AT_LEAST or time.monotonic() < until:
            wishes += 1
            reading = chance.randrange(10) < READS_OF_TEN
            alias, wanted = chance.choice([OPEN, GUARDED]), chance.choice(VERSIONS)
            if reading:
                self.read(alias)
            elif alias == OPEN:
                self.set(wanted)
            else:
                self.promote(wanted)

    def read(self, alias):
        return self.call(alias, "read", lambda _: self.where(alias))

    def where(self, alias):
        try:
            return self.store.get_alias(MODEL, alias)
        except NotFoundError:
            return None

    def set(self, wanted):
        self.call(OPEN, "set", lambda me: self.store.set_alias(MODEL, OPEN, wanted, actor=me), wanted=wanted)

    def promote(self, wanted):
        """Ask, approve as somebody else, and move; the request is a read as well, for it says where the alias is."""
        asked = self.call(GUARDED, "request", lambda me: self.request(me, wanted), wanted=wanted)
        facts = {"wanted": wanted, "base": asked.base_generation}
        decision = Decision("bob", True, "", time.time_ns() // 1_000_000, "python")
        approved = self.call(GUARDED, "approve", lambda _: self.store.decide(asked.request_id, decision), **facts)
        if approved is not None:
            self.call(
                GUARDED,
                "promote",
                lambda me: self.store.promote(asked.request_id, artifact_digest=digest(wanted), actor=me),
                **facts,
            )

    def request(self, me, wanted):
        return self.store.create_request(
            key=me,
            name=MODEL,
            version=wanted,
            alias=GUARDED,
            stage=None,
            requester="ann",
            artifact_digest=digest(wanted),
            evidence=[],
            policy="guard",
            policy_version=1,
        )

    def call(self, alias, kind, ask, **facts):
        """What a call answered, which is None when it was refused."""
        me, answer, refusal = f"{self.number}-{len(self.calls)}", None, None
        began = time.monotonic_ns()
        try:
            answer = ask(me)
        except PromotionError as error:
            refusal = [type(error).__name__, str(error)]
        ended = time.monotonic_ns()
        told = None if answer is None else dataclasses.asdict(answer)
        self.calls.append(
            {"id": me, "alias": alias, "kind": kind, "began": began, "ended": ended, **facts}
            | {"answer": told, "refusal": refusal}
        )
        return answer


def child(store, number, until, folder):
    """In a forked process, which must not return into what its parent was doing."""
    try:
        client = Client(store, number)
        client.run(until)
        (folder / f"{number}.json").write_text(json.dumps(client.calls))
        store.close()
    except BaseException:  # noqa: BLE001  whatever it is, it is told and ends this process alone
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main():
    url, processes, seconds, folder = sys.argv[1:]
    store = open_store(url)
    prepare(store)
    store.close()  # no connection and no thread is there to be inherited
    until = time.monotonic() + float(seconds)
    children = []
    for number in range(int(processes)):
        if not (pid := os.fork()):
            child(store, number, until, Path(folder))
        children.append(pid)
    sys.exit(sum(os.waitpid(pid, 0)[1] != 0 for pid in children))


if __name__ == "__main__":
    main()
