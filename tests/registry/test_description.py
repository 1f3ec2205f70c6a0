import html

from hypothesis import given
from hypothesis import strategies as st

from prefect_ml.entities import Decision, GateResult, PromotionRequest, RequestStatus
from prefect_ml.registry.description import describe, escape

ATTACK = "x | <script>alert(1)</script> {{ secrets }} {% raw %} [a](javascript:b) `c`\n# d *e* ![i](u)"


def request(**changes):
    values = {
        "request_id": "r1", "key": "k", "name": ATTACK, "version": 3, "alias": ATTACK, "stage": ATTACK,
        "status": RequestStatus.PENDING, "status_reason": "", "requester": ATTACK, "requested_at": 0,
        "expires_at": 1000, "artifact_digest": "sha256:00", "evidence": [GateResult(ATTACK, True, ATTACK)],
        "evidence_digest": "", "policy": ATTACK, "policy_version": 1, "base_generation": 2, "base_version": 2,
    }  # fmt: skip
    return PromotionRequest(**values | changes)


def test_text_of_people_is_inert_everywhere():
    shown = describe(request(decisions=[Decision(ATTACK, False, ATTACK, 0, ATTACK)]))
    for poison in ("<script", "{{", "{%", "](", "`c`", "*e*", "![", "\n# d"):
        assert poison not in shown
    rows = [line for line in shown.splitlines() if line.startswith("| ") and "script" in line]
    assert {row.count("|") for row in rows} == {3, 5, 6}


@given(st.text())
def test_escaping_keeps_the_words_and_no_special_character(text):
    shown = escape(text)
    assert not set(shown) & set("|<>{}[]()`*_\\!~\n\r\u2028\u202e")
    assert len(html.unescape(shown).replace("\u2060", "")) <= 300


def test_the_question_and_each_verdict_are_there():
    evidence = [GateResult("loads", True, "fine"), GateResult("auc", False, "auc is 0.5")]
    shown = describe(request(name="churn", alias="champion", requester="ann", evidence=evidence))
    assert shown.startswith("## Promote churn version 3 to @champion?")
    assert "| asked by | ann |" in shown
    assert "| loads | ✅ passed | fine |" in shown
    assert "| auc | ❌ failed | auc is 0.5 |" in shown
