"""Which requests are open: asked for, not answered, in a run that goes on. Folded from records alone."""

import pytest
from immutables import Map
from msgspec import structs

from events.catalogue import Topic
from events.envelope import GENESIS_HASH
from events.families.apply import ApplyRequested, PatchAccepted, PatchRejected
from events.families.build import BuildFailed, BuildRequested, BuildSucceeded
from events.families.failure import FailureClass
from events.families.integrate import IntegrationFailed, IntegrationRequested, SnapshotCreated
from events.families.run import PrepareFailed, PrepareRequested, RunPrepared
from events.families.time import DeadlineKind
from events.families.work import RevokeReason
from events.history import Head, chain
from events.log.port import StoredRecord
from services.runner.following import Followed
from services.runner.open_requests import OpenRequests, OpenWork
from services.runner.worker import WorkerTraits
from support.scenario import START, Scenario, plan

BUILDER = WorkerTraits("builder", (BuildRequested,), (BuildSucceeded, BuildFailed), True, True)
APPLIER = WorkerTraits(
    "applier",
    (PrepareRequested, ApplyRequested, IntegrationRequested),
    (RunPrepared, PrepareFailed, PatchAccepted, PatchRejected, SnapshotCreated, IntegrationFailed),
    False,
    False,
)
SIDE_BY_SIDE = [{"phase_id": "P1", "depends_on": []}, {"phase_id": "P2", "depends_on": []}]


def records(run: Scenario) -> list[StoredRecord]:
    chained, _ = chain(Map(), "shop", run.history)
    return [
        StoredRecord(Topic.EVENTS, 0, offset, "shop", r.value, {"type": r.type_name.encode()}, START)
        for offset, r in enumerate(chained)
    ]


def folded(run: Scenario, traits: WorkerTraits = BUILDER) -> OpenRequests:
    requests = OpenRequests(traits)
    for record in records(run):
        requests.fold(record)
    return requests


def standing(run: Scenario, traits: WorkerTraits = BUILDER) -> list[OpenWork]:
    return folded(run, traits).standing()


def test_a_request_is_open_until_its_answer_stands_in_the_history():
    run = Scenario().started()
    assert [work.id for work in standing(run)] == [run.open("P1").id]
    run.built()
    assert standing(run) == []
    assert [type(work.event.data) for work in standing(run, APPLIER)] == [ApplyRequested]


def test_requests_come_oldest_first_with_their_place_and_project():
    run = Scenario().started(SIDE_BY_SIDE)
    first, second = standing(run)
    assert (first.project, first.event.run_id, first.claim, first.revoked) == ("shop", "run-1", None, None)
    assert first.offset < second.offset


def test_a_claim_is_seen_and_so_is_the_one_that_replaces_it():
    run = Scenario().started()
    run.claimed(instance="one")
    (work,) = standing(run)
    assert work.claim is not None
    assert work.claim.instance == "one"
    run.claimed(instance="two", replaces=work.claim.id)
    (work,) = standing(run)
    assert work.claim is not None
    assert work.claim.instance == "two"


def test_a_revoked_request_is_not_worked_on_and_stays_known_until_its_report():
    run = Scenario().started()
    run.claimed()
    request_id = run.open("P1").id
    run.cancelled()
    requests = folded(run)
    revoked = requests.get(request_id)
    assert revoked is not None
    assert revoked.revoked is RevokeReason.RUN_CANCELLED
    assert requests.standing() == []
    run.say(BuildFailed(request_id=request_id, phase_id="P1", attempt=1, failure=FailureClass.REVOKED, reason="x"))
    assert folded(run).get(request_id) is None


def test_the_end_of_a_run_closes_what_was_open_in_it_and_in_no_other():
    run = Scenario().started()
    run.claimed()
    run.say(plan(run_id="run-2"), "run-2")
    run.prepared("run-2")
    run.cancelled()
    run.passed(DeadlineKind.ENDING)
    assert [work.event.run_id for work in standing(run)] == ["run-2"]


def test_what_an_external_agent_is_asked_for_is_nobodys_work():
    run = Scenario().started(agents={"builder": "external"})
    assert run.open("P1").external
    assert standing(run) == []


def test_of_records_of_no_interest_the_place_in_the_chain_alone_is_read():
    requests = OpenRequests(BUILDER)
    place = f'{{"project":"shop","runid":"run-1","sequence":0,"prevhash":"{GENESIS_HASH}","data":junk'
    newer = StoredRecord(Topic.EVENTS, 0, 0, "shop", place.encode(), {"type": b"autopack.TierStarted.v9"}, START)
    assert requests.fold(newer) is None
    assert requests.runs_known == 1


def forged(run: Scenario, head: Head) -> StoredRecord:
    """Another request for a build, as if it came behind this head."""
    asked = next(event for event in run.history if isinstance(event.data, BuildRequested))
    (made,), _ = chain(Map({("shop", "run-1"): head}), "shop", [structs.replace(asked, id="forged")])
    return StoredRecord(Topic.EVENTS, 0, 99, "shop", made.value, {"type": made.type_name.encode()}, START)


@pytest.mark.parametrize(("ahead", "digest"), [(1, None), (0, "f" * 64), (-1, None), (-4, None)])
def test_a_record_that_does_not_extend_its_chain_is_no_work_and_ends_that_of_its_run(
    ahead: int, digest: str | None
):
    """With a gap, behind another record than the last one, or in the place of one that has been seen."""
    run = Scenario().started()
    run.say(plan(run_id="run-2"), "run-2")
    run.prepared("run-2")
    requests = folded(run)
    assert {work.event.run_id for work in requests.standing()} == {"run-1", "run-2"}
    last = chain(Map(), "shop", run.history)[1]["shop", "run-1"]
    requests.fold(forged(run, Head(last.sequence + ahead, digest or last.digest)))
    assert {work.event.run_id for work in requests.standing()} == {"run-2"}
    assert [(key, "does not extend" in why) for key, why in requests.quarantined.items()] == [
        (("shop", "run-1"), True)
    ]


def test_following_that_begins_in_the_midst_of_a_run_believes_the_first_record_and_chains_the_others():
    run = Scenario().started()
    story = records(run)
    asked = next(number for number, r in enumerate(story) if r.type_name == "autopack.BuildRequested.v1")
    requests = OpenRequests(BUILDER)
    for record in story[asked:]:
        requests.fold(record)
    assert len(requests.standing()) == 1
    requests.fold(forged(run, Head(50, "f" * 64)))
    assert requests.standing() == []


def asked_again(run: Scenario, requests: OpenRequests) -> None:
    for record in records(run):
        if record.type_name == "autopack.BuildRequested.v1":
            requests.fold(record)


def test_a_record_that_is_repeated_opens_nothing_again():
    """A reader does not rest on the log's transactions alone: each record of a run counts once."""
    run = Scenario().started()
    run.claimed()
    run.built()
    requests = folded(run)
    asked_again(run, requests)
    assert requests.standing() == []


def test_a_record_that_is_repeated_after_the_end_of_its_run_opens_nothing():
    run = Scenario().started()
    run.cancelled()
    requests = folded(run)
    asked_again(run, requests)
    assert requests.standing() == []


def test_what_is_remembered_of_runs_is_bounded():
    requests = OpenRequests(BUILDER, runs_remembered=3)
    story = records(Scenario().started())
    asked = next(r for r in story if r.type_name == "autopack.BuildRequested.v1")
    for number in range(10):
        value = asked.value.replace(b'"runid":"run-1"', b'"runid":"run-%d"' % number)
        requests.fold(structs.replace(asked, value=value))
    assert requests.runs_known == 3


def test_a_new_owner_begins_at_the_oldest_open_request():
    run = Scenario().started(SIDE_BY_SIDE)
    followed = Followed(0, OpenRequests(BUILDER), 0, 0)
    story = records(run)
    followed.fold(story)
    first, _ = followed.requests.standing()
    assert followed.committable == first.offset
    run.built("P1")
    followed.fold(records(run)[len(story) :])
    (second,) = followed.requests.standing()
    assert followed.committable == second.offset
    again = Followed(0, OpenRequests(BUILDER), second.offset, 0)
    again.fold(records(run)[second.offset :])
    assert again.requests.standing() == [second]


def test_without_open_requests_a_new_owner_begins_at_the_end():
    followed = Followed(0, OpenRequests(BUILDER), 0, 5)
    story = records(Scenario().started(agents={"builder": "external"}))
    followed.fold(story)
    assert followed.caught_up
    assert followed.committable == len(story)


def test_of_many_open_requests_no_more_are_looked_at_than_can_be_begun():
    run = Scenario().started(
        [{"phase_id": f"P{number}", "depends_on": []} for number in range(100)], max_phases=None
    )
    run.claimed("P7", instance="somebody")
    requests = folded(run)
    looked_at: list[str] = []

    def wanted(work: OpenWork) -> bool:
        looked_at.append(work.event.data.phase_id)
        return work.event.data.phase_id != "P1"

    found = [work.event.data.phase_id for work in requests.oldest(3, wanted)]
    assert found == ["P7", "P0", "P2", "P3"]
    assert looked_at == ["P7", "P0", "P1", "P2", "P3"]
    assert requests.standing_count == len(requests.standing()) == 100
