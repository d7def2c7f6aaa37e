"""What becomes of a submitted record: forwarded, refused with its reason, or decided."""

import json
from typing import Any

import orjson
import pytest
from msgspec import structs

from events.catalogue import Topic
from events.codec import MAX_SUBMISSION_BYTES, read_history
from events.decide import step
from events.decide.verdicts import Reason
from events.history import PartitionState, fold
from events.log.partitions import home_partition
from events.log.port import StoredRecord
from services.supervisor import judging
from services.supervisor.judging import Judge, Judgement, Limits
from services.supervisor.reminders import DEADLINE_SOURCE
from support.scenario import START, plan

PARTITIONS = 4
HOME = home_partition("shop", PARTITIONS)
ELSEWHERE = next(n for n in (f"till-{i}" for i in range(99)) if home_partition(n, PARTITIONS) != HOME)


def envelope(kind: str = "RunRequested", data: Any = None, **changes: Any) -> dict[str, Any]:
    body = plan(project=None).model_dump(mode="json") if data is None else data
    standing = {
        "specversion": "1.0",
        "id": "e1",
        "source": "/test",
        "type": f"autopack.{kind}.v1",
        "project": "shop",
        "runid": "run-1",
        "data": body,
    }
    return {name: value for name, value in {**standing, **changes}.items() if value is not None}


def stored(value: bytes | dict[str, Any], topic: Topic = Topic.COMMANDS, **changes: Any) -> StoredRecord:
    value = value if isinstance(value, bytes) else json.dumps(value).encode()
    return structs.replace(StoredRecord(topic, HOME, 7, "shop", value, {}, START), **changes)


def judged(record: StoredRecord, state: PartitionState | None = None, partition: int = HOME) -> Judgement:
    return Judge(partition, PARTITIONS, Limits()).judge(state or PartitionState(), record)


def reason(judgement: Judgement) -> str:
    assert judgement.rejection is not None, judgement
    assert not judgement.events
    return judgement.rejection.headers["reason"].decode()


def begun() -> PartitionState:
    state = judged(stored(envelope())).state
    assert "run-1" in state.project("shop").runs
    return state


def test_a_request_that_names_no_repository_gets_the_service_s_own_and_one_that_does_keeps_its_own():
    service, judge = "/srv/git/service.git", Judge(HOME, PARTITIONS, Limits(repository="/srv/git/service.git"))
    named = plan(project=None).model_dump(mode="json")
    nameless = stored(envelope(data=named | {"repository": None}))
    for data in (named, named | {"agents": {"builder": "external"}}):
        admitted = judge.judge(PartitionState(), stored(envelope(data=data | {"repository": None})))
        assert read_history(admitted.events[0].value).event.data.repository == service
    kept = judge.judge(PartitionState(), stored(envelope(data=named)))
    assert read_history(kept.events[0].value).event.data.repository == named["repository"] != service
    assert reason(judged(nameless)) == "invalid_plan"


def test_an_admitted_record_keeps_its_id_and_source_and_the_state_is_that_of_the_written_bytes():
    judgement = judged(stored(envelope()))
    first = read_history(judgement.events[0].value).event
    assert (first.id, first.source) == ("e1", "/test")
    state = PartitionState()
    for record in judgement.events:
        state = fold(state, record.value, record.headers["type"].decode())
    assert state == judgement.state
    assert judgement.touched == (("shop", "run-1"),)


def test_a_record_away_from_home_is_forwarded_with_the_same_bytes_and_not_judged():
    value = json.dumps(envelope(project=ELSEWHERE, data={"junk": 1})).encode()
    judgement = judged(stored(value, headers={"note": b"mine"}))
    assert judgement.forward is not None
    assert judgement.forward.topic is Topic.COMMANDS
    assert judgement.forward.partition == home_partition(ELSEWHERE, PARTITIONS)
    assert (judgement.forward.record.key, judgement.forward.record.value) == (ELSEWHERE, value)
    assert judgement.forward.record.headers == {"note": b"mine"}
    assert (judgement.events, judgement.rejection) == ((), None)


def test_what_is_forwarded_once_is_judged_at_home():
    """A header of one project on a record of another: one of them counts, in every partition the same one."""
    told = stored(envelope(project=ELSEWHERE), headers={"ce_project": b"shop"})
    first = judged(told)
    assert first.forward is not None
    arrived = structs.replace(told, partition=first.forward.partition, key=first.forward.record.key)
    second = judged(arrived, partition=arrived.partition)
    assert second.forward is None
    assert second.state.project(ELSEWHERE).runs.get("run-1") is not None


@pytest.mark.parametrize("headers", [{}, {"ce_specversion": b"1.0"}])
def test_no_run_enters_a_partition_that_is_not_its_projects_home(headers: dict[str, bytes]):
    headers = {**headers, "ce_project": b"shop"}
    values = [
        json.dumps(envelope(project=ELSEWHERE)).encode(),
        json.dumps(envelope()).encode().replace(b'"project": "shop"', b'"project": "%b"' % ELSEWHERE.encode(), 1),
        json.dumps(envelope()).encode().replace(b'{"spec', b'{"project": "%b", "spec' % ELSEWHERE.encode(), 1),
        json.dumps(envelope()).encode()[:-1] + b', "project": "%b"}' % ELSEWHERE.encode(),
    ]
    for value in values:
        judgement = judged(stored(value, headers=headers))
        homes = {home_partition(name, PARTITIONS) for name in judgement.state.projects}
        assert homes <= {HOME}, value


def test_a_record_in_the_wrong_topic_is_refused():
    assert reason(judged(stored(envelope(), Topic.RESULTS))) == Reason.WRONG_TOPIC


def test_a_record_of_a_quarantined_run_is_refused_and_other_runs_go_on():
    forked = structs.replace(begun(), quarantined=PartitionState().quarantined.set(("shop", "run-1"), "a fork"))
    cancel = envelope("RunCancelRequested", {}, id="e2")
    assert reason(judged(stored(cancel), forked)) == Reason.QUARANTINED
    other = envelope(runid="run-2", data=plan(run_id="run-2").model_dump(mode="json"))
    assert judged(stored(other), forked).events


def test_a_fault_of_the_rules_costs_the_record_that_met_it(monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise RuntimeError("two rules undo each other")

    monkeypatch.setattr(judging, "outcome", broken)
    state = PartitionState()
    judgement = judged(stored(envelope()), state)
    assert reason(judgement) == Reason.UNDECIDABLE
    assert judgement.state is state


def test_a_fault_while_the_outcome_is_folded_costs_the_record_as_well(monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise RuntimeError("no state follows")

    monkeypatch.setattr(step, "evolve", broken)
    assert reason(judged(stored(envelope()))) == Reason.UNDECIDABLE


def test_a_repetition_is_passed_over_without_a_trace():
    state = begun()
    assert judged(stored(envelope()), state) == Judgement(state)


def test_a_refused_record_keeps_its_bytes_and_says_where_it_lay():
    rejection = judged(stored(b"junk", Topic.RESULTS, headers={"note": b"mine"})).rejection
    assert rejection is not None
    assert rejection.value == b"junk"
    assert rejection.headers["original.note"] == b"mine"
    place = [rejection.headers[name] for name in ("source_topic", "source_partition", "source_offset")]
    assert place == [b"autopack.results", b"%d" % HOME, b"7"]


def test_a_plan_of_countless_faults_makes_a_rejection_that_fits_into_a_batch():
    """A record that cannot be refused either would stop its partition for good."""
    needs = ["x"] * 100_000
    faulty = {**plan().model_dump(mode="json"), "repository": "/srv/shop.git"}
    faulty["phases"] = [{**faulty["phases"][0], "depends_on": needs}]
    value = orjson.dumps(envelope(data=faulty))
    assert len(value) < MAX_SUBMISSION_BYTES
    rejection = judged(stored(value)).rejection
    assert rejection is not None
    assert rejection.headers["reason"] == Reason.INVALID_PLAN.encode()
    assert len(orjson.loads(rejection.headers["faults"])) >= 20
    assert sum(len(header) for header in rejection.headers.values()) < 100_000


def test_nobody_else_speaks_under_the_name_of_the_supervisors_deadlines():
    """Their ids can be foretold: whoever used one up would take a run's time limit away."""
    cancel = envelope("RunCancelRequested", {}, id="e2", source=DEADLINE_SOURCE)
    refused = judged(stored(cancel), begun())
    assert reason(refused) == Reason.INVALID_DATA
    assert refused.rejection is not None
    assert orjson.loads(refused.rejection.headers["faults"])[0]["place"] == "source"
